"""Writes files of texts, and builds their stores."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rnnexp.config.trial import DataConfig
from rnnexp.data.store import TokenStore, prepare
from rnnexp.errors import DataError
from rnnexp.home import Home

ROWS = [(f'{"A good" if row % 2 else "A bad"} film, "no. {row}"\tindeed', str(row % 2)) for row in range(30)]


def store_of(tmp_path: Path, path: Path, **settings: Any) -> TokenStore:
    values = {"name": "mine", "path": str(path), **settings}
    return prepare(DataConfig.model_validate(values), Home.open(tmp_path / "home"))


def refusal(tmp_path: Path, path: Path, **settings: Any) -> str:
    """Returns the error of a faulty file, which is one line; no file may be left in the home."""
    with pytest.raises(DataError) as caught:
        store_of(tmp_path, path, **settings)
    assert not (tmp_path / "home").exists()
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def text_file(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_csv(tmp_path: Path, rows: list[tuple[str, str]], name: str = "a.csv") -> Path:
    path = tmp_path / name
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(path, index=False)
    return path


def write_json_lines(tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    return text_file(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def words_of(store: TokenStore) -> list[str]:
    return [store.vocabulary.decode(store.token_ids(row)) for row in range(store.n_pool + store.n_test)]
