"""Runs and compares studies of recurrent networks on text, and exports models that accept raw text.

    import rnnexp

    study = rnnexp.sweep("sweeps/quickstart.yaml", trials=4)
    study.trials_dataframe()
    model = study.export("best")
    model.predict(["This is a good movie"])

Importing this package loads nothing else: each name is loaded when it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnnexp.api import Study as Study
    from rnnexp.api import load_model as load_model
    from rnnexp.api import load_study as load_study
    from rnnexp.api import sweep as sweep
    from rnnexp.errors import RnnexpError as RnnexpError
    from rnnexp.errors import UserError as UserError
    from rnnexp.errors import WorkError as WorkError
    from rnnexp.runtime.encoding import Prediction as Prediction
    from rnnexp.runtime.encoding import TextModel as TextModel
    from rnnexp.storage.views import TrialRow as TrialRow

__version__ = "0.1.0"

_PLACES = {
    "Prediction": "runtime.encoding",
    "RnnexpError": "errors",
    "Study": "api",
    "TextModel": "runtime.encoding",
    "TrialRow": "storage.views",
    "UserError": "errors",
    "WorkError": "errors",
    "load_model": "api",
    "load_study": "api",
    "sweep": "api",
}
"""The public names, and the modules that define them."""

__all__ = ["__version__", *sorted(_PLACES)]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
