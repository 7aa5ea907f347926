"""The runner on a tiny project of its own: what is refused, what runs again, what a failure stops."""

import fcntl
import json
import shutil
import subprocess
from pathlib import Path

import nbformat
import numpy as np
import pytest
from conftest import SECOND, write_notebook

from gccpm_lib import provenance
from gccpm_lib.__main__ import main
from gccpm_lib.files import write_beside
from gccpm_lib.report import notebook, results, runner, verify
from gccpm_lib.report.profiles import parse_setting, read_notebook, read_parameters


def counts(root: Path) -> list[int]:
    files = [root / f"count_{name}.txt" for name in ("01_prep", "02_train", "03_other")]
    return [len(file.read_text()) if file.exists() else 0 for file in files]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("01_prep.base_rl=1", "did you mean 'base_lr'"),
        ("01_perp.base_lr=1", "did you mean '01_prep'"),
        ("01_prep.epochs=2.5", "epochs must be int"),
        ("01_prep.epochs=true", "epochs must be int"),
        ("01_prep.flip=yes", "write true or false"),
        ("01_prep.base_lr=fast", "base_lr must be float"),
        ("01_prep.sizes=5", "sizes must be tuple"),
        ("01_prep", "notebook.parameter=value"),
    ],
)
def test_wrong_settings_are_refused_in_one_line_before_anything_runs(project, capsys, setting, message):
    assert main(["reproduce", "--profile", "tiny", "--set", setting]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1 and not printed.out
    assert counts(project) == [0, 0, 0] and not (project / "runs").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("notebooks:\n  01_pre: {}\n", "did you mean '01_prep'"),
        ("notebooks:\n  02_train:\n  01_prep:\nneeds:\n  02_train: [01_prep]\n", "put 01_prep before it"),
        ("notebook:\n  01_prep:\n", "no 'notebooks'"),
        ("notebooks:\n  01_prep:\nneed:\n  01_prep: []\n", "did you mean 'needs'"),
        ("notebooks: [\n", "not readable as YAML"),
    ],
)
def test_wrong_profiles_are_refused(project, tmp_path, capsys, text, message):
    file = tmp_path / "elsewhere.yaml"
    file.write_text(text)
    assert main(["reproduce", "--profile", str(file)]) == 2
    assert message in capsys.readouterr().err


def test_unknown_profile_names_the_known_ones(project, capsys):
    assert main(["reproduce", "--profile", "tinny"]) == 2
    assert "did you mean 'tiny'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("3", 3),
        ("no", "no"),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ("'1e-4'", "1e-4"),
        ("2020-01-01", "2020-01-01"),
        ("010", "010"),
        ("", None),
        ("a=b", "a=b"),
    ],
)
def test_settings_are_read_as_plain_yaml(text, value):
    read = parse_setting(f"02_train.base_lr={text}")
    assert read == ("02_train", "base_lr", value) and type(read[2]) is type(value)


def test_only_what_changed_runs_again(project, capsys, monkeypatch):
    assert main(["reproduce", "--profile", "tiny"]) == 0
    assert counts(project) == [1, 1, 1]
    lines = capsys.readouterr().out.splitlines()
    started = [line.split(":")[0] for line in lines if "started" in line]
    assert started == ["01_prep", "02_train", "03_other"]
    summary = json.loads((project / "reports" / "tiny" / "metrics.json").read_text())
    first = summary["notebooks"]["01_prep"]
    assert first["parameters"]["epochs"] == 2 and first["parameters"]["experiment_name"] == "tiny"
    assert first["headline"] == {"PCKh": 61.5} and first["status"] == "done" and first["wall_time_s"] > 0

    file = project / "notebooks" / "03_other.ipynb"
    opened = nbformat.read(file, as_version=4)
    opened.cells[1].execution_count = 7  # as saved after working in it by hand
    nbformat.write(opened, file)
    assert main(["reproduce", "--profile", "tiny"]) == 0
    assert counts(project) == [1, 1, 1]
    assert main(["reproduce", "--profile", "tiny", "--set", "01_prep.base_lr=1"]) == 0
    assert counts(project) == [2, 2, 1]
    assert main(["publish", "--profile", "tiny"]) == 0
    assert counts(project) == [2, 2, 1]

    page = project / "reports" / "tiny" / "03_other.html"
    written = page.stat().st_mtime_ns
    (project / "new_template.j2").touch()
    monkeypatch.setattr(runner, "_page_sources", lambda: [project / "new_template.j2"])
    assert main(["reproduce", "--profile", "tiny", "--set", "01_prep.base_lr=1.0"]) == 0
    assert counts(project) == [2, 2, 1] and page.stat().st_mtime_ns > written


def test_failure_stops_only_what_depends_on_it_and_is_shown(project, capsys):
    assert main(["reproduce", "--profile", "tiny", "--set", "01_prep.epochs=13"]) == 1
    assert counts(project) == [1, 0, 1]
    printed = capsys.readouterr()
    assert "02_train: not run" in printed.out and "RuntimeError: bad <luck>" in printed.err
    page = (project / "reports" / "tiny" / "01_prep.html").read_text()
    assert 'id="failure"' in page and "bad &lt;luck&gt;" in page and "<luck>" not in page
    index = (project / "reports" / "tiny" / "index.html").read_text()
    assert "What does 01_prep say?" in index and "not run" in index
    assert (project / "runs" / "tiny" / "notebooks" / "01_prep.failed.ipynb").exists()

    assert main(["reproduce", "--profile", "tiny"]) == 0
    assert counts(project) == [2, 1, 1]
    assert not (project / "runs" / "tiny" / "notebooks" / "01_prep.failed.ipynb").exists()


def test_exploring_never_changes_a_report(project, monkeypatch):
    assert main(["reproduce", "--profile", "tiny"]) == 0
    report = project / "reports" / "tiny"
    before = {path: path.read_bytes() for path in report.rglob("*") if path.is_file()}
    folder = notebook.run_folder("tiny")  # by hand, in the experiment of the same name
    assert folder == project / "runs" / "explore" / "tiny"
    notebook.record_metrics(folder, "01_prep", headline={"PCKh": 74.3}, metrics={"seen": 2})
    notebook.record_metrics(project / "runs" / "tiny", "01_prep", headline={"PCKh": 74.3}, metrics={"seen": 2})
    assert main(["reproduce", "--profile", "tiny"]) == 0 and main(["publish", "--profile", "tiny"]) == 0
    after = {path: path.read_bytes() for path in report.rglob("*") if path.is_file()}
    assert after == before
    assert {check.state for check in verify.check_numbers(report, results.earlier_entries(report))} == {verify.SAME}


def test_a_notebook_by_hand_finds_what_was_trained_by_hand_else_the_reports(project):
    made = project / "runs" / "mine" / "02_train" / "checkpoint.pt"
    write_beside(made, "weights")
    assert notebook.checkpoint_of("mine", "02_train") == made
    by_hand = write_beside(project / "runs" / "explore" / "mine" / "02_train" / "checkpoint.pt", "others")
    assert notebook.checkpoint_of("mine", "02_train") == by_hand


def test_a_failed_page_stands_beside_the_last_good_one(project):
    assert main(["reproduce", "--profile", "tiny"]) == 0
    report = project / "reports" / "tiny"
    assert main(["reproduce", "--profile", "tiny", "--set", "01_prep.epochs=13"]) == 1
    page, failed = ((report / f"01_prep{ending}.html").read_text() for ending in ("", ".failed"))
    assert 'id="failure"' in failed and 'id="failure"' not in page and 'href="01_prep.failed.html#failure"' in page
    entries = json.loads((report / "metrics.json").read_text())["notebooks"]
    assert [entries[name]["status"] for name in entries] == ["failed since", "earlier", "done"]
    assert entries["01_prep"]["headline"] == {"PCKh": 61.5} and "01_prep.failed.html#failure" in index_of(report)
    assert main(["reproduce", "--profile", "tiny"]) == 0
    assert not (report / "01_prep.failed.html").exists() and "failed" not in index_of(report).partition("<style>")[0]


def index_of(report: Path) -> str:
    return (report / "index.html").read_text()


def test_what_was_published_stays_where_nothing_has_run(project):
    """A clone without the working files: one notebook fails, another wasn't reached."""
    assert main(["reproduce", "--profile", "tiny"]) == 0
    report = project / "reports" / "tiny"
    good = {name: (report / f"{name}.html").read_bytes() for name in ("01_prep", "02_train")}
    shutil.rmtree(project / "runs")
    assert main(["reproduce", "--profile", "tiny", "--set", "01_prep.epochs=13"]) == 1
    assert {name: (report / f"{name}.html").read_bytes() for name in good} == good
    entries = json.loads((report / "metrics.json").read_text())["notebooks"]
    assert [entries[name]["status"] for name in entries] == ["failed since", "earlier", "done"]
    assert entries["02_train"]["headline"] == {"PCKh": 61.5} and (report / "01_prep.failed.html").is_file()


def git(*command: str) -> str:
    done = subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", *command], check=True, capture_output=True)
    return done.stdout.decode()


def test_a_report_in_git_is_replaced_by_publish_alone(project, capsys):
    (project / ".gitignore").write_text("runs/\ncount_*\n")
    assert main(["reproduce", "--profile", "tiny"]) == 0
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "report"]):
        git(*command)
    assert main(["reproduce", "--profile", "tiny", "--set", "01_prep.epochs=3"]) == 0
    assert git("status", "--porcelain") == "" and "gccpm publish --profile tiny" in capsys.readouterr().out
    made = json.loads((project / "runs" / "tiny" / "report" / "metrics.json").read_text())["notebooks"]
    assert made["01_prep"]["parameters"]["epochs"] == 3
    assert provenance.describe(project)["uncommitted_changes"] is False
    opened = nbformat.read(project / "notebooks" / "01_prep.ipynb", as_version=4)
    opened.cells[1].execution_count = 7
    nbformat.write(opened, project / "notebooks" / "01_prep.ipynb")
    assert provenance.describe(project)["uncommitted_changes"] is False  # its cells are those of the commit
    opened.cells[1].source += " "
    nbformat.write(opened, project / "notebooks" / "01_prep.ipynb")
    assert provenance.describe(project)["uncommitted_changes"] is True
    assert main(["publish", "--profile", "tiny"]) == 0
    assert "reports/tiny/01_prep.html" in git("status", "--porcelain")


def test_figures_come_from_the_notebook_that_was_run(project):
    draw = "from matplotlib.figure import Figure\nfigure = Figure()\nfigure.subplots().plot([1, 2])\n" \
        "notebook.show_figure(figure, folder, '03_other_line', 'A line')"  # fmt: skip
    write_notebook(project, "03_other", SECOND, draw)
    assert main(["reproduce", "--profile", "tiny"]) == 0
    report = project / "reports" / "tiny"
    drawn = (report / "figures" / "03_other_line.png").read_bytes()
    (project / "runs" / "tiny" / "figures" / "03_other_line.png").write_bytes(b"from exploring")
    (report / "figures" / "03_other_gone.png").write_bytes(b"of an older version")
    assert main(["publish", "--profile", "tiny"]) == 0
    assert [path.name for path in (report / "figures").iterdir()] == ["03_other_line.png"]
    assert (report / "figures" / "03_other_line.png").read_bytes() == drawn
    (figure,) = json.loads((report / "metrics.json").read_text())["notebooks"]["03_other"]["figures"]
    assert figure["caption"] == "A line" and 'alt="A line"' in index_of(report)


def test_a_second_runner_is_turned_away(project, capsys):
    (project / "runs" / "tiny").mkdir(parents=True)
    with open(project / "runs" / "tiny" / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert main(["reproduce", "--profile", "tiny"]) == 3
    printed = capsys.readouterr()
    assert "another gccpm" in printed.err and printed.err.count("\n") == 1
    assert counts(project) == [0, 0, 0]


def test_publish_before_any_run_says_what_to_do(project, capsys):
    assert main(["publish", "--profile", "tiny"]) == 2
    assert "gccpm reproduce --profile tiny" in capsys.readouterr().err


def test_parameters_are_read_with_their_comments(project):
    found = read_parameters(read_notebook(project / "notebooks" / "01_prep.ipynb"), "01_prep")
    assert [item.name for item in found] == ["experiment_name", "base_lr", "epochs", "flip", "sizes"]
    assert found[1].value == 1e-3 and found[1].help == "learning rate (lr = base_lr)"


def test_record_metrics_writes_plain_numbers(project):
    folder = notebook.run_folder("mine")
    metrics = {"per_joint": np.array([1.5, np.nan]), "nested": {"n": np.int64(3), "time_s": 0.5}, "path": Path("a")}
    notebook.record_metrics(folder, "04_evaluation", headline={"PCKh": np.float32(2.5)}, metrics=metrics)
    written = json.loads((project / "runs" / "explore" / "mine" / "metrics" / "04_evaluation.json").read_text())
    assert written["headline"] == {"PCKh": 2.5}
    assert written["metrics"] == {"per_joint": [1.5, None], "nested": {"n": 3, "time_s": 0.5}, "path": "a"}
    assert written["provenance"]["commit"] == "unknown"
    with pytest.raises(ValueError, match=r"metrics\.odd is object"):
        notebook.record_metrics(folder, "04_evaluation", headline={}, metrics={"odd": object()})


def test_paths_are_taken_from_the_project_root(project, monkeypatch):
    (project / "notebooks" / "deep").mkdir()
    monkeypatch.chdir(project / "notebooks" / "deep")
    assert notebook.project_root() == project
    assert notebook.resolve("data/lip") == project / "data" / "lip"
    assert notebook.resolve("/data/lip") == Path("/data/lip")


def test_one_notebook_makes_several_pages(project, capsys):
    (project / "notebooks" / "profiles" / "two.yaml").write_text(
        "notebooks:\n  01_prep: {epochs: 2}\n  01_prep_large: {notebook: 01_prep, label: large, epochs: 3}\n"
    )
    assert main(["reproduce", "--profile", "two", "--set", "01_prep_large.base_lr=0.5"]) == 0
    report = json.loads((project / "reports" / "two" / "metrics.json").read_text())["notebooks"]
    assert [report[name]["parameters"]["epochs"] for name in ("01_prep", "01_prep_large")] == [2, 3]
    assert report["01_prep_large"]["parameters"]["base_lr"] == 0.5
    pages = project / "reports" / "two"
    assert "(large)" in (pages / "01_prep_large.html").read_text() and ">large</a>" in (pages / "index.html").read_text()
    assert counts(project)[0] == 2
    assert main(["reproduce", "--profile", "two", "--set", "01_prep_lagre.base_lr=0.5"]) == 2
    assert "did you mean '01_prep_large'" in capsys.readouterr().err


def test_a_killed_runner_goes_on_behind_what_was_done(project, monkeypatch):
    run = runner.run_notebook

    def killed(root, profile, name):
        if name == "02_train":
            raise KeyboardInterrupt
        return run(root, profile, name)

    monkeypatch.setattr(runner, "run_notebook", killed)
    with pytest.raises(KeyboardInterrupt):
        runner.reproduce("tiny")
    monkeypatch.setattr(runner, "run_notebook", run)
    assert runner.reproduce("tiny") == 0
    assert counts(project)[:2] == [1, 1]


def test_a_state_that_cant_be_read_is_named_in_one_line(project, capsys):
    (project / "runs" / "tiny").mkdir(parents=True)
    (project / "runs" / "tiny" / ".done.json").write_text("{")
    assert main(["reproduce", "--profile", "tiny"]) == 2
    said = capsys.readouterr().err
    assert ".done.json: not readable; remove it" in said and said.count("\n") == 1


def test_a_page_that_cant_be_made_keeps_no_other_from_being_made(project, monkeypatch, capsys):
    from gccpm_lib.report import index

    publish_page = index.publish_page

    def full_disk(root, profile, name, folder):
        if name == "01_prep":
            raise OSError(28, "No space left on device")
        publish_page(root, profile, name, folder)

    monkeypatch.setattr(index, "publish_page", full_disk)
    assert main(["reproduce", "--profile", "tiny"]) == 1
    assert "01_prep.html: OSError: [Errno 28] No space left on device\n" in capsys.readouterr().err
    assert (project / "reports" / "tiny" / "02_train.html").exists()
    monkeypatch.undo()
    monkeypatch.chdir(project)
    assert main(["reproduce", "--profile", "tiny"]) == 0 and counts(project)[:2] == [1, 1]
