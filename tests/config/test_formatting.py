"""How a setting's value is written."""

import pytest

from rnnexp.config.formatting import setting_value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0012345, "0.00123"),
        (0.3, "0.3"),
        (999.0, "999"),
        (250_001.0, "250,001"),
        (1234.5, "1.23e+03"),
        (1e38, "1e+38"),
        (float("nan"), "nan"),
        (128, "128"),
        ("lstm", "lstm"),
        (True, "True"),
        (None, "None"),
    ],
)
def test_a_value_is_short_and_a_large_whole_number_is_exact(value: object, text: str) -> None:
    assert setting_value(value) == text
