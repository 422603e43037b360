"""A certificate counts for the study that it is about, and only if it is whole."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from rnnexp.analysis import answers, configurations
from rnnexp.analysis.configurations import seed_noise
from rnnexp.errors import HomeError
from tests.study.fakes import FakeExecutor
from tests.study.small_study import SWEEP, Study

WHOLE: dict[str, Any] = {
    "metric": "val_accuracy",
    "seeds": [1],
    "leader": "LSTM(64)",
    "comparisons": [],
    "configurations": [],
    "sentences": ["It wins."],
}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    study = Study(tmp_path)
    study.run(FakeExecutor())
    study.home.study("s-certify").root.mkdir(parents=True)
    return study


def test_the_certificate_of_an_earlier_study_of_the_same_name_is_not_taken(study: Study) -> None:
    path = study.home.study("s-certify").certificate
    assert answers.certificate(study.home, study.view) is None
    whole = {**WHOLE, "test": {"accuracy": 0.8}}
    for identity, counts in ((study.view.identity, True), ("0" * 32, False)):
        path.write_text(json.dumps({**whole, "study_id": identity}))
        assert (answers.certificate(study.home, study.view) is not None) == counts
    path.write_text(json.dumps(whole))
    assert answers.certificate(study.home, study.view) is not None, "earlier versions did not name the study"


@pytest.mark.parametrize("text", ["{}", "[]", '"a"', "", "{", json.dumps(WHOLE)])
def test_an_incomplete_certificate_is_none(study: Study, text: str) -> None:
    study.home.study("s-certify").certificate.write_text(text)
    assert answers.certificate(study.home, study.view) is None


def test_a_certificate_that_cannot_be_read_now_is_not_missing(study: Study) -> None:
    study.home.study("s-certify").certificate.mkdir()
    with pytest.raises(HomeError, match="cannot be read"):
        answers.certificate(study.home, study.view)


def test_the_noise_of_seeds_is_not_taken_from_other_data(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert seed_noise(study.home, study.view) is None
    seeds = Study(tmp_path / "seeds")
    seeds.file.write_text(SWEEP[: SWEEP.index("  model.units")] + "  train.seed: {int: [1, 9]}\n")
    seeds.run(FakeExecutor(accuracy=lambda job, _: 0.5 + 0.01 * job.config.train.seed))
    certified = seeds.view
    monkeypatch.setattr(configurations.bulk_reader, "study_names", lambda _: ["s", "s-certify"])
    monkeypatch.setattr(configurations, "view", lambda *_, **__: certified)
    assert seed_noise(study.home, study.view)
    other = {**study.view.definition, "data_digest": "other data"}
    assert seed_noise(study.home, dataclasses.replace(study.view, definition=other)) is None
