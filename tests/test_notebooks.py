"""Notebooks: what is stored, and the tiny profile run through papermill from data to pages."""

import ast
import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from conftest import csv_row, lip_rows, write_coco

from gccpm_lib.__main__ import main
from gccpm_lib.datasets import coco
from gccpm_lib.report import profiles
from gccpm_lib.skeletons import LIP

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells(path, kind):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def lines_of(cell):
    return "".join(cell["source"]).splitlines()


def git(folder, *command):
    return subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_git_stores_has_no_outputs(path):
    """On disk a notebook may show what somebody's work in it left."""
    try:
        stored = json.loads(git(ROOT, "show", f":./notebooks/{path.name}"))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not in a git repository")
    code = [cell for cell in stored["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert stored["metadata"].keys() == {"kernelspec"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_are_literals_with_comments(path):
    (cell,) = [cell for cell in cells(path, "code") if "parameters" in cell["metadata"].get("tags", [])]
    for statement in ast.parse("".join(cell["source"])).body:
        assert isinstance(statement, ast.Assign | ast.AnnAssign)
        ast.literal_eval(statement.value)
    assert all("#" in line for line in lines_of(cell) if line)


@pytest.mark.parametrize("profile", sorted(path.stem for path in (ROOT / "notebooks" / "profiles").glob("*.yaml")))
def test_profiles_name_only_known_parameters(profile):
    assert profiles.read_profile(ROOT, profile).notebooks


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the notebooks in an empty folder, run once with the tiny profile."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    shutil.copy(ROOT / "pyproject.toml", root)
    shutil.copy(ROOT / "tests" / "tiny.yaml", root / "notebooks" / "profiles")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert main(["reproduce", "--profile", "tiny"]) == 0
    return root


def test_every_page_is_there_and_small(project):
    pages = sorted((project / "reports" / "tiny").glob("*.html"))
    made = profiles.read_profile(project, "tiny").notebooks
    assert [page.stem for page in pages] == [*sorted(made), "index"]
    assert {path.stem for path in NOTEBOOKS} <= made.keys()
    assert all(page.stat().st_size < 3_000_000 for page in pages)


def test_the_converted_labels_are_those_of_the_official_file(project):
    official, converted = (
        coco.read_coco(project / "data" / "tiny_coco", "train", labels)
        for labels in ("", str(project / "runs" / "tiny" / "converted.json"))
    )
    assert [person.image_path for person in converted] == [person.image_path for person in official]
    assert all((a.keypoints == b.keypoints).all() for a, b in zip(official, converted, strict=True))


def test_metrics_of_the_committed_sample_report_are_still_made(project):
    """By name; pages, claims and cards read them. What a notebook measures beside them may be newer than the report."""
    tiny, sample = (
        json.loads((root / "reports" / name / "metrics.json").read_text())["notebooks"]
        for root, name in ((project, "tiny"), (ROOT, "sample"))
    )
    for name in tiny.keys() & sample.keys():  # a notebook may be newer than the report, too
        assert sample[name]["metrics"].keys() <= tiny[name]["metrics"].keys(), name


def test_second_run_runs_nothing_and_is_quick(project, monkeypatch, capfd):
    monkeypatch.chdir(project)
    executed = project / "runs" / "tiny" / "notebooks" / "02_train_lip.ipynb"
    before, started = executed.stat().st_mtime, time.monotonic()
    assert main(["reproduce", "--profile", "tiny"]) == 0
    assert executed.stat().st_mtime == before
    assert time.monotonic() - started < 15
    assert "started" not in capfd.readouterr().out


def test_misspelt_parameter_is_refused_before_anything_runs(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert main(["reproduce", "--profile", "tiny", "--set", "02_train_lip.bas_lr=1e-4"]) == 2
    error = capsys.readouterr().err
    assert "bas_lr" in error and "base_lr" in error and len(error.strip().splitlines()) == 1


def test_00_takes_a_folder_of_photographs_that_nobody_has_labelled(tmp_path, monkeypatch):
    """Two pictures, and a box file that has two boxes in one of them and none in the other."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    write_coco(tmp_path / "coco", counts=(("train", 1), ("val", 2)))
    (name, _) = sorted(path.name for path in (tmp_path / "coco" / "val2017").iterdir())
    rows = [{"file_name": name, "bbox": box, "score": 0.9} for box in ([5, 5, 50, 80], [62, 5, 50, 80])]
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    parameters = "{picture_folder: coco/val2017, boxes_path: boxes.json, own_folder: coco, num_pictures: 1}"
    (tmp_path / "notebooks" / "profiles" / "own.yaml").write_text(f"title: Own\nnotebooks:\n  00_start: {parameters}\n")
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "--profile", "own"]) == 0
    found = json.loads((tmp_path / "reports" / "own" / "metrics.json").read_text())["notebooks"]["00_start"]
    assert list(found["headline"]) == ["sure joints"]
    assert (found["metrics"]["persons"], found["metrics"]["joints"], found["metrics"]["scored"]) == (2, 34, 0)
    assert "on 2 people in 1 picture:" in found["answer"]["text"] and "found" not in found["answer"]["text"]
    page = (tmp_path / "reports" / "own" / "00_start.html").read_text()
    assert page.count('<details class="code" open="">') == 4 and "write 51" in page  # what is taught stands open


def test_01_cuts_lip_from_coco_and_shows_what_is_odd(tmp_path, monkeypatch):
    """Validation rows alone: one has right and left changed, one an annotation that COCO doesn't have."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    write_coco(tmp_path / "coco", counts=(("train", 3), ("val", 1)))
    rows = lip_rows(tmp_path / "coco" / "annotations" / "person_keypoints_train2017.json")
    names, keypoints = list(rows), list(rows.values())
    keypoints[0] = keypoints[0][LIP.flip_order]
    (tmp_path / "labels").mkdir()
    table = "".join(csv_row(name, k) for name, k in zip([*names[:5], "3_777.jpg"], keypoints, strict=True))
    (tmp_path / "labels" / "lip_val_set.csv").write_text(table)
    parameters = "{dataset_folder: lip, coco_folder: coco, labels_folder: labels, splits: [val], input_size: [64, 64]}"
    profile = tmp_path / "notebooks" / "profiles" / "cut.yaml"
    profile.write_text(f"title: Cut\nnotebooks:\n  01_data_prep: {parameters}\n")
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "--profile", "cut"]) == 0
    found = json.loads((tmp_path / "reports" / "cut" / "metrics.json").read_text())["notebooks"]["01_data_prep"]
    assert found["headline"] == {"validation persons": 5}
    assert found["metrics"]["lip_from_coco"]["told"][:3] == [
        "val: 5 of 6 persons are there (LIP in full has 10,000)",
        "  odd, right and left changed places: 1",
        "  could not be made, COCO has no such annotation: 1",
    ]
    page = (tmp_path / "reports" / "cut" / "01_data_prep.html").read_text()
    assert "1_10.jpg" in page and "3_777.jpg" in page
    assert (tmp_path / "reports" / "cut" / "figures" / "01_data_prep_odd.png").is_file()
