"""Verifying: an untouched report passes, and whatever was changed since is named."""

import importlib.metadata
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_coco, write_lip

from gccpm_lib import files, provenance
from gccpm_lib.__main__ import main
from gccpm_lib.checkpoints import save_checkpoint, weights_hash
from gccpm_lib.datasets import lip
from gccpm_lib.datasets.coco import read_coco, read_truth
from gccpm_lib.datasets.coco_results import write_results
from gccpm_lib.datasets.corrections import Correction, write_corrections
from gccpm_lib.datasets.lip import find_path
from gccpm_lib.evaluation import pckh
from gccpm_lib.report import verify
from gccpm_lib.report.pages import script_data
from gccpm_lib.report.results import page_record
from gccpm_lib.report.site import comparable
from gccpm_lib.skeletons import COCO

REPORTS = Path(__file__).parents[2] / "reports"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a data set, predictions of it, a checkpoint and a report on them, all committed."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "gccpm_lib").mkdir()
    (tmp_path / "gccpm_lib/code.py").write_text("one = 1\n")
    monkeypatch.chdir(tmp_path)
    for command in (["init", "-q"], ["add", "gccpm_lib"], ["commit", "-qm", "code"]):
        subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", *command], check=True)
    write_lip(tmp_path / "data/lip", (("train", 2), ("val", 6)))
    persons = lip.read_lip(tmp_path / "data/lip", "val")
    found = np.stack([person.keypoints for person in persons]) + [3.3, 0, 0]
    place = "runs/sample/04_evaluation/predictions_single_scale.csv"
    lip.write_predictions(tmp_path / place, [person.name for person in persons], found)
    weights = {"layer.weight": torch.arange(6.0).reshape(2, 3)}
    save_checkpoint(tmp_path / "runs/sample/02_train_lip/checkpoint.pt", {"network": weights})
    write_report(tmp_path, place, weights)
    return tmp_path


def write_report(root, place, weights):
    parameters = {"dataset_folder": "data/lip", "experiment_name": "sample", "num_val_persons": None}
    scores = pckh.evaluate_lip(find_path(root / "data/lip", "lip_val_set.csv"), root / place)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    summary = {
        "provenance": {"commit": commit, "uncommitted_changes": False, "torch": importlib.metadata.version("torch")},
        "notebooks": {
            "02_train_lip": {
                "headline": {"training images/s": 20.0},
                "metrics": {"weights_hash": weights_hash(weights), "train_s": 7.0, "loss": [1.0, 2.0]},
                "parameters": {**parameters, "page_name": "02_train_lip"},
            },
            "04_evaluation": {
                "headline": {"PCKh@0.5 Avg. (%)": round(scores["Avg."], 1)},
                "metrics": {
                    "data_hash": provenance.data_hash(root / "data/lip"),
                    "predictions": {"single scale": place},
                    "scores": {"single scale": scores},
                },
                "parameters": {**parameters, "page_name": "04_evaluation"},
            },
        },
    }
    folder = root / "reports/sample"
    files.write_beside(folder / "metrics.json", json.dumps(summary))
    headlines = {name: page["headline"] for name, page in summary["notebooks"].items()}
    write_record(folder / "index.html", headlines)
    write_record(folder.parent / "index.html", {"sample": headlines})
    for name, page in summary["notebooks"].items():
        write_record(folder / f"{name}.html", page_record(name, page))
    files.write_manifest(folder)


def write_record(page, record):
    files.write_beside(page, f'<p>5 %</p><script type="application/json" id="record">{script_data(record)}</script>')


def found_in(project) -> dict[str, list[str]]:
    """State -> lines of the report's checks."""
    states = {}
    for check in verify.verify(project / "reports/sample"):
        states.setdefault(check.state, []).append(check.line())
    return states


def edit(project, change) -> None:
    """Change metrics.json and let the manifest vouch for it."""
    file = project / "reports/sample/metrics.json"
    summary = json.loads(file.read_text())
    change(summary)
    file.write_text(json.dumps(summary))
    files.write_manifest(file.parent)


def test_an_untouched_report_passes(project, capsys):
    states = found_in(project)
    assert set(states) == {"same"} and len(states["same"]) == 7, states
    assert main(["verify", "reports/sample"]) == 0
    assert capsys.readouterr().out.endswith("nothing differs in 7 checks\n")


def test_a_report_elsewhere_says_what_it_could_not_check(project):
    shutil.rmtree(project / "data")
    shutil.rmtree(project / "runs")
    states = found_in(project)
    assert set(states) == {"same", "not checked"}
    assert [re.search(r"  (.*?):", line)[1] for line in states["not checked"]] == [
        "02_train_lip", "04_evaluation", "04_evaluation",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("metrics.json", "metrics.json has been changed"),
        ("04_evaluation.html", "04_evaluation.html has been changed"),
        ("more.html", "more.html was not published with it"),
    ],
)
def test_tampered_files_are_named(project, name, said, capsys):
    with open(project / "reports/sample" / name, "a") as file:
        file.write(" ")
    assert main(["verify", "reports/sample"]) == 1
    assert said in capsys.readouterr().out


def test_a_missing_page_is_named(project):
    (project / "reports/sample/02_train_lip.html").unlink()
    assert len(found_in(project)["differs"]) == 2


@pytest.mark.parametrize(
    ("page", "record", "said"),
    [
        ("sample/index.html", {"02_train_lip": {"training images/s": 20.0}, "04_evaluation": {"PCKh@0.5 Avg. (%)": 74.3}},
         "index.html: 04_evaluation.PCKh@0.5 Avg. (%): 74.3 against"),
        ("sample/02_train_lip.html", {"page": "02_train_lip", "headline": {"training images/s": 12345.5}, "metrics": ""},
         "02_train_lip.html: headline.training images/s: 12345.5 against 20.0"),
        ("index.html", {"sample": {}}, "../index.html: 02_train_lip: None against"),
    ],
)  # fmt: skip
def test_a_page_or_card_that_says_another_number_is_named(project, page, record, said):
    write_record(project / "reports" / page, record)
    files.write_manifest(project / "reports/sample")
    (line,) = found_in(project)["differs"]
    assert said in line and "in metrics.json" in line


def test_pages_from_before_they_told_their_numbers_are_not_compared(project):
    report = project / "reports/sample"
    names = ("index", *json.loads((report / "metrics.json").read_text())["notebooks"])
    for name in names:
        (report / f"{name}.html").write_text("<p>an old page</p>")
    files.write_manifest(report)
    states = found_in(project)
    assert "differs" not in states and "from before pages told" in " ".join(states["not checked"])
    write_record(report / "index.html", {})  # one page of today among them: then all must tell
    files.write_manifest(report)
    assert len(found_in(project)["differs"]) == len(names)


def test_metrics_that_a_page_was_not_made_with_are_named(project):
    edit(project, lambda s: s["notebooks"]["02_train_lip"]["metrics"].update(loss=[1.0, 3.0]))
    (line,) = found_in(project)["differs"]
    assert "02_train_lip.html: metrics: " in line


def test_numbers_of_five_digits_agree(project):
    edit(project, lambda s: s["notebooks"]["02_train_lip"]["headline"].update({"training persons": 30462}))
    pages = json.loads((project / "reports/sample/metrics.json").read_text())["notebooks"]
    write_record(project / "reports/sample/02_train_lip.html", page_record("02_train_lip", pages["02_train_lip"]))
    headlines = {name: page["headline"] for name, page in pages.items()}
    write_record(project / "reports/sample/index.html", headlines)
    write_record(project / "reports/index.html", {"sample": headlines})
    files.write_manifest(project / "reports/sample")
    assert "differs" not in found_in(project)


def test_a_page_whose_last_run_failed_is_named(project):
    edit(project, lambda s: s["notebooks"]["02_train_lip"].update(status="failed since"))
    assert found_in(project)["differs"] == ["    differs  numbers: 02_train_lip: failed since"]


def test_a_score_that_the_predictions_do_not_give_is_named(project):
    edit(project, lambda s: s["notebooks"]["04_evaluation"]["metrics"]["scores"]["single scale"].update({"Avg.": 99.0}))
    lines = found_in(project)["differs"]
    assert "Avg. recorded 99.00, from predictions_single_scale.csv" in lines[-1]


def test_scores_on_corrected_labels_are_computed_on_them(project):
    """LIP: a person of the validation is rejected; COCO: predictions lie on labels of which one is moved far away."""
    name = lip.read_lip(project / "data/lip", "val")[0].name
    nowhere, about = (0.0, 0.0, 0), ("anna", "2026-11-26T00:00:00Z")
    write_corrections(project / "data/lip_c.csv", [Correction(1, name, None, "", nowhere, nowhere, *about)])
    scores = pckh.evaluate_lip(*_kept_of_lip(project, name))
    place = "runs/sample/04_evaluation/predictions_single_scale.csv"
    assert _score(project, "data/lip", "lip_c.csv", place, scores) == verify.SAME

    write_coco(project / "data/coco")
    persons = read_coco(project / "data/coco", "val")
    found = np.stack([person.keypoints for person in persons])
    file = write_results(project / "results.json", persons, found, [1.0] * len(persons))
    joint = int(found[0, :, 2].argmax())
    was = (*map(float, found[0, joint, :2]), int(found[0, joint, 2]))
    away = Correction(1, persons[0].name, persons[0].annotation_id, COCO.joints[joint], (900.0, 900.0, 2), was, *about)
    write_corrections(project / "data/coco_c.csv", [away])
    whole = pckh.evaluate_coco(project / "data/coco/annotations/person_keypoints_val2017.json", file)
    (project / "truth.json").write_text(json.dumps(read_truth(project / "data/coco", "val", "coco_c.csv")))
    scores = pckh.evaluate_coco(project / "truth.json", file)
    assert whole["AP"] > scores["AP"] + 0.01
    assert _score(project, "data/coco", "coco_c.csv", "results.json", scores) == verify.SAME
    assert _score(project, "data/coco", "coco_c.csv", "results.json", whole) == verify.DIFFERS
    assert _score(project, "data/coco", "gone.csv", "results.json", scores) == verify.UNKNOWN


def _kept_of_lip(project, name: str) -> tuple[Path, Path]:
    """Truth and predictions without this person; the predictions take the place of those that are there."""
    predictions = project / "runs/sample/04_evaluation/predictions_single_scale.csv"
    kept = []
    for file in (find_path(project / "data/lip", "lip_val_set.csv"), predictions):
        kept.append("".join(line for line in file.read_text().splitlines(True) if not line.startswith(name)))
    (project / "kept.csv").write_text(kept[0])
    predictions.write_text(kept[1])
    return project / "kept.csv", predictions


def _score(project, folder: str, labels: str, place: str, scores: dict) -> str:
    parameters = {"dataset_folder": folder, "val_labels": labels}
    page = {"metrics": {"predictions": {"single": place}, "scores": {"single": scores}}, "parameters": parameters}
    (check,) = verify.check_scores("04", page)
    return check.state


def test_other_data_and_weights_are_named(project):
    next((project / "data/lip").rglob("*.jpg")).write_bytes(b"other")
    save_checkpoint(project / "runs/sample/02_train_lip/checkpoint.pt", {"network": {"layer.weight": torch.zeros(2, 3)}})
    assert [line.split(", recorded")[0].split("/")[-1] for line in found_in(project)["differs"]] == ["checkpoint.pt", "lip"]


def test_code_and_packages_that_moved_on_are_no_difference(project, capsys):
    (project / "gccpm_lib/code.py").write_text("two = 2\n")
    (project / "gccpm_lib/card.md").write_text("a card isn't the code of a report")
    edit(project, lambda s: s["provenance"].update(torch="1.0"))
    moved = found_in(project)["moved on"]
    assert "1 files since" in moved[0] and "gccpm_lib/code.py" in moved[0] and "torch was 1.0, is 2" in moved[1]
    assert len(moved) == 2 and main(["verify", "reports/sample"]) == 0
    assert "nothing differs" in capsys.readouterr().out


def test_uncommitted_changes_and_unknown_commits_are_said(project):
    edit(project, lambda s: s["provenance"].update(commit="f" * 40))
    assert "isn't in this repository" in found_in(project)["not checked"][0]
    edit(project, lambda s: s["provenance"].update(uncommitted_changes=True))
    assert "made with uncommitted changes" in found_in(project)["differs"][0]


def test_what_is_no_report_is_refused_in_a_line(tmp_path, capsys):
    assert main(["verify", str(tmp_path)]) == 2
    assert "metrics.json: not a readable report" in capsys.readouterr().err


def test_two_runs_are_equal_apart_from_times(project, tmp_path, capsys):
    other = tmp_path / "reports/other"
    shutil.copytree(project / "reports/sample", other)
    edit(project, lambda s: s["notebooks"]["02_train_lip"]["metrics"].update(train_s=9.0))
    edit(project, lambda s: s["notebooks"]["02_train_lip"]["headline"].update({"training images/s": 21.0}))
    assert main(["verify", "reports/sample", "--against", str(other)]) == 0
    edit(project, lambda s: s["notebooks"]["02_train_lip"]["metrics"].update(loss=[1.0, 2.5]))
    capsys.readouterr()
    assert main(["verify", "reports/sample", "--against", str(other)]) == 1
    assert "02_train_lip: metrics.loss[1]: 2.5 against 2.0" in capsys.readouterr().out


def test_times_are_known_by_their_names():
    metrics = {"train_s": 1, "network_alone_s": [{"score": 2}], "latency_ms": 3, "training images/s": 4, "score": 5,
               "INT8 times faster, network": 6, "list": [{"ms": 7, "kept": 8}]}  # fmt: skip
    assert comparable(metrics) == {"score": 5, "list": [{"kept": 8}]}


@pytest.mark.parametrize("report", sorted(path.parent.name for path in REPORTS.glob("*/metrics.json")))
def test_nothing_differs_in_a_committed_report(report, monkeypatch):
    monkeypatch.chdir(REPORTS.parent)
    differing = [check.line() for check in verify.verify(REPORTS / report) if check.state == verify.DIFFERS]
    assert not differing, "\n".join(differing)
