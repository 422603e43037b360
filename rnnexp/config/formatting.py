"""How the value of a setting is written in lists, sentences and pages."""

from typing import Any


def setting_value(value: Any) -> str:
    """Returns a setting's value as text: a float with 3 significant digits, a large whole one in full."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if value.is_integer() and 1e3 <= abs(value) < 1e9 else f"{value:.3g}"
