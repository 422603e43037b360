"""The model card says what was measured, and what a name contains cannot change its page."""

from pathlib import Path
from typing import Any

import pytest

from rnnexp.analysis import selection
from rnnexp.config.trial import DataConfig, TrialConfig
from rnnexp.data.store import TokenStore, prepare
from rnnexp.export import card
from rnnexp.export.bundle import Source
from rnnexp.export.check import Checked
from rnnexp.home import Home
from tests.data.text_files import write_csv
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study

_MEASURED = {
    "onnx": {
        "bytes": 1_315_218,
        "n_texts": 2000,
        "accuracy": 0.872,
        "largest_difference": 1.2e-6,
        "one_text_ms": 0.0987,
        "batch_of_64_ms": 6.5,
    }
}
_HOSTILE = '<script>alert("x")</script>|`*[x](javascript:1)'


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    """Two labels, one of them with markup."""
    folder = tmp_path_factory.mktemp("data")
    rows = [(f"word{n} text", label) for n in range(40) for label in (_HOSTILE, "good")]
    return prepare(DataConfig(name="own", path=str(write_csv(folder, rows))), Home.open(folder / "home"))


def _card(
    store: TokenStore, probes: tuple[tuple[str, float], ...] = (("good", 0.9), (_HOSTILE, 0.8)), **facts: Any
) -> str:
    config = TrialConfig().with_settings({"data.name": "own", "data.path": "/own.csv", "data.maxlen": 77})
    metrics = {"val_accuracy": 0.875, "val_loss": 0.3, "x": 1.0}
    origin = {"study": "s", "trial": 3, "best_epoch": 4, "metrics": metrics}
    source = Source(config, Path("model"), Path("held_out"), store, origin)
    known: dict[str, Any] = {
        "selection": ["Trial 3 is best."],
        "data": "mine",
        "licence": "unknown",
        "test_results": [],
    }
    described = card.Facts(interval=selection.interval_over_texts, **(known | facts))
    return card.markdown(source, Checked((), probes), _MEASURED, described)


def test_the_card_has_what_was_measured(store: TokenStore) -> None:
    text = _card(store)
    low, high = selection.interval_over_texts(
        0.875, len(store.split(DataConfig(name="own", path="/own.csv")).validation)
    )
    assert f"| accuracy, validation | 0.8750 | {low:.4f} to {high:.4f} |" in text
    assert "| onnx | 1.32 MB | 0.8720 | 1e-06 | 0.10 ms | 6.5 ms |" in text
    assert "Trial 3 is best." in text
    assert "the last 77 tokens" in text
    assert "The test part was not used for this model." in text
    assert "Licence of the data: unknown" in text
    assert "onnxruntime " in text, "the versions"
    assert "| accuracy, test | 0.8600 |" in _card(store, test_results=[(0.86, 1000)])


@pytest.mark.parametrize(
    ("second", "words"), [("good", "**not** told apart"), (_HOSTILE, "The two texts are told apart.")]
)
def test_the_probes_are_told_apart_or_not(store: TokenStore, second: str, words: str) -> None:
    text = _card(store, (("good", 0.9), (second, 0.6)))
    assert words in text
    assert ("It can miss a negation" in text) == (second == "good")


def test_a_name_cannot_change_the_page(store: TokenStore) -> None:
    page = card.html(_card(store, selection=[f"Chosen by {_HOSTILE}"], data=_HOSTILE), _HOSTILE)
    assert "<script" not in page
    assert "href" not in page
    assert page.count("<h2>") == 9
    assert "<code>data.maxlen</code>" in page
    assert "&lt;script&gt;" in page


def test_the_selection_tells_among_how_many_and_how_sure(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.run(FakeExecutor())
    best = study.view.best
    assert best is not None
    text = " ".join(selection.sentences(study.home, study.view, best))
    assert text.startswith(f"The study s has {len(study.view.trials)} trials (")
    assert f"Trial {best.number} has the best val_accuracy: {best.value:.4f}" in text
    assert "A value on the validation part is optimistic" in text
    other = study.view.ranked[2]
    assert f"Trial {other.number} was chosen by hand; it is number 3 of the ranking." in " ".join(
        selection.sentences(study.home, study.view, other)
    )


def test_the_interval_of_an_accuracy() -> None:
    """The example of Newcombe, Statistics in Medicine 1998, table I: 81 of 263."""
    assert selection.interval_over_texts(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    low, high = selection.interval_over_texts(1.0, 10)
    assert 0.6 < low < 1
    assert high == pytest.approx(1.0)
