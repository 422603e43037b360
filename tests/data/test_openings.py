"""The log of the uses of a test part survives a line that was cut."""

from pathlib import Path

from rnnexp.config.trial import DataConfig
from rnnexp.data import openings
from rnnexp.home import Home

CONFIG = DataConfig(name="reviews")


def test_each_use_is_counted(tmp_path: Path) -> None:
    home = Home.open(tmp_path)
    assert openings.of_model(home, "digest", "hash") is None
    assert [openings.record(home, CONFIG, "digest", {"model": "hash", "n": n}) for n in range(3)] == [1, 2, 3]
    found = openings.of_model(home, "digest", "hash")
    assert found is not None
    assert found["n"] == 2


def test_a_line_that_a_full_disk_has_cut_is_left_out(tmp_path: Path) -> None:
    home = Home.open(tmp_path)
    openings.record(home, CONFIG, "digest", {"model": "hash"})
    with home.openings.open("ab") as file:
        file.write(b'[]\n\xff\n{"time": 17')
    assert openings.record(home, CONFIG, "digest", {"model": "hash", "n": 2}) == 2
    assert openings.record(home, CONFIG, "digest", {"model": "other"}) == 3
    found = openings.of_model(home, "digest", "hash")
    assert found is not None
    assert found["n"] == 2
