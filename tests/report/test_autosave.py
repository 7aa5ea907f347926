"""Saving in JupyterLab: what git sees of a notebook stays as it is, what the notebook shows lies beside it."""

import json
import shutil
import subprocess
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import nbformat
from browsing import jupyterlab
from nbformat.v4 import new_output

ROOT = Path(__file__).parents[2]
NAME = "notebooks/01_data_prep.ipynb"


def git(folder, *command) -> str:
    own = ("-c", "user.name=n", "-c", "user.email=e")
    return subprocess.run(["git", *own, *command], cwd=folder, capture_output=True, text=True, check=True).stdout


def saved(address: str, content: dict) -> None:
    """As JupyterLab saves, by hand or by itself."""
    parts = urlsplit(address.format(""))
    url = f"{parts.scheme}://{parts.netloc}/api/contents/{NAME}"
    token = parse_qs(parts.query, keep_blank_values=True)["token"][0]
    body = json.dumps({"type": "notebook", "format": "json", "content": content}).encode()
    headers = {"Authorization": f"token {token}", "Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(url, body, headers, method="PUT")).close()


def test_working_in_a_notebook_changes_nothing_that_git_sees(tmp_path):
    project, own = tmp_path / "project", tmp_path / "own"
    for folder in (project / "notebooks", project / "gccpm_lib", own / "_CONFIG" / "jupyter_server_config.d"):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / "gccpm_lib" / "report" / "gccpm_lib.json", folder)  # as the installation does in its own folder
    for name in (NAME, ".gitignore"):
        shutil.copy(ROOT / name, project / name)
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "notebook"]):
        git(project, *command)
    opened = nbformat.read(project / NAME, as_version=4)
    for number, cell in enumerate(cell for cell in opened.cells if cell.cell_type == "code"):
        cell.execution_count = number + 1
        cell.outputs = [new_output("stream", name="stdout", text="seen")]
        cell.metadata["execution"] = {"iopub.execute_input": "2026-01-01"}
    opened.metadata["language_info"] = {"name": "python", "version": "3.12.1"}
    with jupyterlab(project, own) as address:
        saved(address, opened)
        assert git(project, "status", "--porcelain") == ""
        copy = json.loads((project / "runs" / "explore" / NAME).read_text())
        assert copy["metadata"]["language_info"]["version"] == "3.12.1"
        assert next(cell["outputs"][0]["text"] for cell in copy["cells"] if cell["cell_type"] == "code") == "seen"
        opened.cells[1].source += "\nimport os"
        saved(address, opened)
        assert git(project, "status", "--porcelain").split() == ["M", NAME]
    assert "import os" in (project / NAME).read_text()
