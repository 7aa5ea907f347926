"""Launch badges: "Open in Colab" and "Launch Binder" for every notebook, from the address in pyproject.toml.

    python -m gccpm_lib.tools.badges  # after the address under [project.urls] was changed

Writes the badges into each notebook's first cell, behind it the cell that installs the workbook on Colab, and the table in
notebooks/guide/launch.md. The one place of the address is pyproject.toml.
"""

import json
import re
import tomllib
from pathlib import Path

from gccpm_lib.files import write_beside
from gccpm_lib.report.notebook import project_root

COLAB = "https://colab.research.google.com"
BINDER = "https://mybinder.org"
INSTALL = """\
# On Colab, and nowhere else: fetch the workbook and install it
import os
import sys

if "google.colab" in sys.modules:
    if not os.path.isdir("/content/gccpm"):
        !git clone --quiet --depth 1 {address} /content/gccpm
        %pip install --quiet "/content/gccpm[export,lab,render]"
    os.chdir("/content/gccpm/notebooks")"""


def badges(address: str, path: str) -> str:
    """The two badges of a notebook, in Markdown. path: from the repository's root."""
    repository = "/".join(address.rstrip("/").split("/")[-2:])
    colab = f"{COLAB}/github/{repository}/blob/main/{path}"
    lab = f"{BINDER}/v2/gh/{repository}/main?labpath={path.replace('/', '%2F')}"
    return (
        f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({colab}) "
        f"[![Launch Binder]({BINDER}/badge_logo.svg)]({lab})"
    )  # fmt: skip


def with_badges(notebook: dict, address: str, path: str) -> dict:
    """A notebook (its JSON) with the badges at the end of its first cell and, behind it, the installation on Colab."""
    heading, *rest = notebook["cells"]
    text = re.sub(r"\n\n\[!\[Open in Colab\][^\n]*", "", "".join(heading["source"]))
    heading = {**heading, "source": f"{text}\n\n{badges(address, path)}".splitlines(keepends=True)}
    install = {"cell_type": "code", "execution_count": None, "id": "", "metadata": {"tags": ["launch"]}, "outputs": []}
    install["source"] = INSTALL.format(address=address).splitlines(keepends=True)
    rest = [cell for cell in rest if "launch" not in cell["metadata"].get("tags", ())]
    cells = [{**cell, "id": str(i)} for i, cell in enumerate([heading, install, *rest])]  # as nbstripout numbers them
    return {**notebook, "cells": cells}


def launch_table(address: str, paths: list[str]) -> str:
    """Notebook and badges, a row each."""
    rows = [f"| [{Path(path).stem}](../{Path(path).name}) | {badges(address, path)} |" for path in paths]
    return "\n".join(["| Notebook | Launch |", "|---|---|", *rows])


def main() -> None:
    """Write badges and installation cells into the project's notebooks and guide."""
    root = project_root()
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address, files = project["urls"]["Repository"], sorted((root / "notebooks").glob("[0-9]*.ipynb"))
    for file in files:
        content = with_badges(json.loads(file.read_text(encoding="utf-8")), address, f"notebooks/{file.name}")
        write_beside(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    page = root / "notebooks" / "guide" / "launch.md"
    before, start, rest = page.read_text(encoding="utf-8").partition("<!-- badges -->")
    _, end, after = rest.partition("<!-- /badges -->")
    table = launch_table(address, [f"notebooks/{file.name}" for file in files])
    write_beside(page, f"{before}{start}\n\n{table}\n\n{end}{after}")


if __name__ == "__main__":
    main()
