"""What JupyterLab saves: the sources of a notebook in notebooks/, what it shows in a copy under runs/explore/notebooks/.

So working in a notebook changes nothing that git sees, and nothing is lost: the copy opens like any notebook. Installing
the package switches this on: gccpm_lib.json goes to where Jupyter looks for its server's extensions.
"""

import json
from pathlib import Path

from gccpm_lib.files import write_beside
from gccpm_lib.report.checks import EXPLORED

KEPT_ON_DISK = ("kernelspec",)  # of a notebook's metadata; the rest describes the kernel that ran
KEPT_OF_CELLS = ("tags",)


def _jupyter_server_extension_points() -> list[dict]:
    return [{"module": "gccpm_lib.report.autosave"}]


def _load_jupyter_server_extension(server) -> None:
    server.contents_manager.register_pre_save_hook(keep_outputs_apart)


def keep_outputs_apart(model: dict, path: str, contents_manager, **_) -> None:
    """Jupyter's pre_save_hook: write the whole notebook to the copy, and take from the model what isn't source."""
    file = (Path(contents_manager.root_dir) / path.strip("/")).resolve()
    project = file.parents[1]
    if model["type"] != "notebook" or file.parent != project / "notebooks" or not (project / "gccpm_lib").is_dir():
        return  # somebody's own notebook
    content = model["content"]
    copy = project / "runs" / EXPLORED / "notebooks" / file.name
    write_beside(copy, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    content["metadata"] = {key: value for key, value in content["metadata"].items() if key in KEPT_ON_DISK}
    for cell in content["cells"]:
        cell["metadata"] = {key: value for key, value in cell["metadata"].items() if key in KEPT_OF_CELLS}
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
