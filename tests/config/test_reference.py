from pathlib import Path

import pytest

from rnnexp.config import reference
from rnnexp.config.trial import setting_names

_FILE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_file_is_current() -> None:
    assert _FILE.read_text(encoding="utf-8") == reference.markdown(), "run `make settings`"


def test_every_setting_has_a_row_with_a_meaning() -> None:
    rows = [line.strip("| ").split(" | ") for line in reference.markdown().splitlines() if line.startswith("| `")]
    meanings = {row[0].strip("`"): row[-1] for row in rows}
    others = [
        "metric",
        "n_warmup_steps",
        "trials",
        "timeout_s",
        "memory_gb",
        "retries",
        "checkpoints",
        "choice",
        "when",
    ]
    for name in [*setting_names(), *others]:
        assert len(meanings[name]) > 10, name


@pytest.mark.parametrize(
    "row",
    [
        "| `model.layers` | integer | `1` | at least 1, at most 16 | number of stacked recurrent layers |",
        "| `train.learning_rate` | number | `0.001` | greater than 0 | learning rate; it is constant |",
        "| `seed` | integer | `0` | at least 0 | seed of the sampler; the same seed gives the same trials |",
    ],
)
def test_types_defaults_and_bounds_are_those_of_the_models(row: str) -> None:
    assert row in reference.markdown().splitlines()
