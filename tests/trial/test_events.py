import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded, EpochEnded, Event, Evicted, Failed, Finished, Started, Unknown

_FLOATS = st.floats(allow_nan=False)
_METRICS = st.dictionaries(st.sampled_from(["loss", "accuracy", "val_loss", "val_accuracy"]), _FLOATS)
_PLAIN = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=3))
_EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Started, time=_FLOATS, data=_PLAIN, plan=_PLAIN),
    st.builds(EpochEnded, time=_FLOATS, metrics=_METRICS, seconds=_FLOATS, best_value=_FLOATS),
    st.builds(Finished, time=_FLOATS, metrics=_METRICS, train_seconds=_FLOATS),
    st.builds(Failed, time=_FLOATS),
    st.builds(AttemptEnded, time=_FLOATS),
    st.builds(Evicted, time=_FLOATS),
)


def _epoch(number: int, loss: float = 0.5) -> EpochEnded:
    return EpochEnded(float(number), number, {"loss": loss}, 1.0, 1, 0.5)


@settings(max_examples=50, deadline=None)
@given(event=_EVENTS)
def test_an_event_is_one_line_and_comes_back(event: Event) -> None:
    line = events.encode(event)
    assert line.splitlines() == [line]
    assert events.decode(line) == event


def test_appended_events_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "trials" / "00000" / "events.jsonl"
    written: list[Event] = [
        _epoch(1),
        _epoch(2),
        Failed(3.0, "error", "line one\nline two – “three”"),
        AttemptEnded(4.0, "FAIL", "x", 2),
    ]
    for event in written:
        events.append(path, event)
    assert events.read(path) == written
    assert len(path.read_bytes().splitlines()) == len(written)


def test_metrics_that_are_not_finite_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events.append(path, EpochEnded(1.0, 1, {"loss": math.nan, "val_loss": math.inf}, 1.0, 0, -math.inf))
    (event,) = events.read(path)
    assert isinstance(event, EpochEnded)
    assert math.isnan(event.metrics["loss"])
    assert (event.metrics["val_loss"], event.best_value) == (math.inf, -math.inf)


def test_no_file_holds_no_events(tmp_path: Path) -> None:
    assert events.read(tmp_path / "events.jsonl") == []
    (tmp_path / "events.jsonl").touch()
    assert events.read(tmp_path / "events.jsonl") == []


def test_an_incomplete_last_line_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events.append(path, _epoch(1))
    whole = path.read_bytes()
    events.append(path, Failed(2.0, "error", "é"))
    both = path.read_bytes()
    for end in range(len(whole), len(both)):
        path.write_bytes(both[:end])
        assert events.read(path) == [_epoch(1)]
    path.write_bytes(both)
    assert len(events.read(path)) == 2


def test_an_event_after_an_incomplete_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events.append(path, _epoch(1))
    with path.open("ab") as file:
        file.write(events.encode(_epoch(2)).encode()[:30])
    events.append(path, _epoch(2, loss=0.25))
    events.append(path, _epoch(3))
    assert events.read(path) == [_epoch(1), _epoch(2, loss=0.25), _epoch(3)]


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"null", b"[]", b'"epoch_ended"', b"{}", b'{"event": "epoch_ended"}', b'{"event": [1]}', b"\xff"],
)
def test_a_line_in_the_middle_that_is_no_event_is_ignored(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "events.jsonl"
    events.append(path, _epoch(1))
    with path.open("ab") as file:
        file.write(line + b"\n")
    events.append(path, _epoch(2))
    assert events.read(path) == [_epoch(1), _epoch(2)]


def test_fields_of_a_newer_version_are_ignored_and_its_kinds_keep_their_place(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    newer = {**json.loads(events.encode(_epoch(1))), "energy_joules": 5}
    path.write_text(json.dumps(newer) + "\n" + '{"event": "moved", "time": 1.0}\n', encoding="utf-8")
    unknown = Unknown(1.0, '{"event": "moved", "time": 1.0}')
    assert events.read(path) == [_epoch(1), unknown]
    assert events.encode(unknown) == unknown.line


def test_fields_that_an_older_version_did_not_write_have_their_defaults() -> None:
    assert events.decode('{"event": "closed", "time": 1.0, "state": "COMPLETE"}') == AttemptEnded(
        1.0, "COMPLETE", "", 1
    )


@pytest.mark.parametrize("line", ["{", "{}", '{"event": 5}', '{"event": "evicted"}'])
def test_a_line_that_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        events.decode(line)


def test_the_curve_has_each_epoch_once_in_order_the_latest_attempts() -> None:
    """An attempt that was killed after an event and before its checkpoint trains that epoch again."""
    written: list[Event] = [_epoch(1), _epoch(2, 0.9), Evicted(2.5), _epoch(2, 0.4), _epoch(3)]
    assert events.epochs(written) == [_epoch(1), _epoch(2, 0.4), _epoch(3)]
    assert events.epochs([]) == []
