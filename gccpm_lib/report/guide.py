"""The guide: notebooks/guide/*.md as pages of the site, and the library map in it, made from docstrings.

python -m gccpm_lib.report.guide  # library.md and the pages again, after a docstring or a page was changed
"""

import ast
import posixpath
import re
import tomllib
from pathlib import Path

import jinja2
from bs4 import BeautifulSoup

from gccpm_lib.files import write_beside
from gccpm_lib.report import pages
from gccpm_lib.report.notebook import PACKAGE, project_root
from gccpm_lib.report.sanitise import markdown_html

# Rooms of the library in the order in which data flows through them; "" holds the words that all of them share.
ROOMS = ("", "datasets", "rendering", "prediction", "evaluation", "training", "show", "export", "ablation", "cli")
ROOMS += ("report", "tools")
PLACEHOLDER = "OWNER/REPOSITORY"  # in pyproject.toml, as long as this repository has no public address


def publish_guide(root: Path) -> list[str]:
    """notebooks/guide/*.md -> reports/guide/*.html; the names of the pages, in its README.md's order; [] without one."""
    folder = root / "notebooks" / "guide"
    if not (folder / "README.md").is_file():
        return []
    listed = re.findall(r"\]\(([\w-]+)\.md\)", (folder / "README.md").read_text(encoding="utf-8"))
    names = [name for name in ("README", *listed) if (folder / f"{name}.md").is_file()]
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(pages.TEMPLATES), autoescape=True)
    template, texts = environment.get_template("guide.html.j2"), [page_body(root, name) for name in names]
    titles = [text.h1.get_text() for text in texts]
    for text in texts:
        text.h1.decompose()
    files = ["index" if name == "README" else name for name in names]
    for i, (file, title, text) in enumerate(zip(files, titles, texts, strict=True)):
        near = {"previous": (files[i - 1], titles[i - 1]) if i else None}
        near["next"] = (files[i + 1], titles[i + 1]) if i + 1 < len(files) else None
        page = template.render(title=title, body=str(text), style=pages.style_sheet(), icon=pages.icon(), **near)
        write_beside(root / "reports" / "guide" / f"{file}.html", page)
    return files


def page_body(root: Path, name: str) -> BeautifulSoup:
    """A page's harmless HTML with its heading, and with links that lead right from reports/guide/."""
    text = BeautifulSoup(
        markdown_html((root / "notebooks" / "guide" / f"{name}.md").read_text(encoding="utf-8")), "html.parser"
    )
    for anchor in text.select("a.anchor-link"):
        anchor.decompose()
    for link in text.select("a[href]"):
        target = site_link(root, link["href"])
        if target:
            link["href"] = target
        else:
            link.unwrap()
    return text


def site_link(root: Path, link: str) -> str | None:
    """Where a link of a guide's page leads from its page of the site; None where the site doesn't have it."""
    if re.match(r"https?:|#", link):
        return link
    path, _, place = link.partition("#")
    path = posixpath.normpath(posixpath.join("notebooks/guide", path))
    if not (root / path).exists():
        return None
    if path.startswith("reports/"):
        target = posixpath.relpath(path, "reports/guide")
    elif re.fullmatch(r"notebooks/guide/[\w-]+\.md", path):
        target = re.sub("^README$", "index", path.split("/")[-1].removesuffix(".md")) + ".html"
    elif address := repository(root):
        target = f"{address}/blob/main/{path}"
    else:
        return None
    return f"{target}#{place}" if place else target


def repository(root: Path) -> str | None:
    """The public address of this repository as pyproject.toml has it; None as long as it is the placeholder."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    address = project.get("urls", {}).get("Repository", PLACEHOLDER)
    return None if address.endswith(PLACEHOLDER) else address


def library_map() -> str:
    """library.md: of every room its docstring's first line, and of each file in it."""
    lines = [
        "# Library map",
        "",
        "Made from the docstrings by `python -m gccpm_lib.report.guide`. Data flows one way: disk -> records -> crops -> "
        "heatmaps -> network -> keypoints -> metrics -> report. So do the imports; `tests/test_house.py` has their order.",
    ]
    for room in ROOMS:
        files = sorted((PACKAGE / room).glob("*.py"))
        about = _first_line(PACKAGE / room / "__init__.py") if room else "The words that all rooms share."
        lines += ["", f"## {room or 'gccpm_lib'}", "", about, "", "| File | What it holds |", "|---|---|"]
        lines += [f"| `{file.stem}` | {_first_line(file)} |" for file in files if file.stem != "__init__"]
    return "\n".join(lines) + "\n"


def _first_line(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split()).replace("|", "\\|")


def main() -> None:
    """Write the library map and the pages of the guide."""
    root = project_root()
    write_beside(root / "notebooks" / "guide" / "library.md", library_map())
    print(*publish_guide(root), sep="\n")


if __name__ == "__main__":
    main()
