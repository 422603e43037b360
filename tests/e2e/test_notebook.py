"""The example notebook runs from top to bottom in a real kernel."""

import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.tensorflow

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "notebook.ipynb"


def _texts(cell: Any) -> str:
    """What a cell has printed, and its value as text."""
    found = [output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(found)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel's client
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("RNNEXP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "the notebook is stored without outputs"
    _kernel_of_this_python(tmp_path / "jupyter" / "kernels" / "python3")
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "<rnnexp.Study 'notebook-example'" in _texts(cells[1])
    assert _texts(cells[2]).count("COMPLETE") == 4
    assert any("image/png" in output.get("data", {}) for output in cells[3].outputs), "the curves are drawn"
    assert "This is a good movie" in _texts(cells[7])
    assert "# Model card: notebook-example, trial" in _texts(cells[8])
    assert (tmp_path / "home" / "notebook-example.html").exists()


def _kernel_of_this_python(folder: Path) -> None:
    folder.mkdir(parents=True)
    command = f'["{sys.executable}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"]'
    (folder / "kernel.json").write_text(f'{{"argv": {command}, "display_name": "Python 3", "language": "python"}}')
