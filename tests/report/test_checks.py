"""Checks before anything runs: what a profile or a notebook by hand names has to be there, and is said in one line."""

import pytest

from gccpm_lib.__main__ import main
from gccpm_lib.files import write_beside
from gccpm_lib.report import checks, notebook

CELL = """experiment_name: str = "sample"  # results go there
page_name: str = "04_evaluation"  # name of the page
dataset_folder: str = "data/lip"  # where
checkpoint_path: str = "gccpm-2stage-leeds"  # of the network
input_size: list[int] | None = [96, 96]  # height, width
seeds: list[int] = [0, 1]  # several
rate: float | None = None  # of learning
num_epochs: int | None = 4  # times
device: str = "cpu"  # where
"""


def by_hand(root, *cells: str, **changed) -> None:
    """As in a kernel: the cells were run, then the names are looked at."""
    names: dict = {"In": ["", "import this_and_that", *cells]}
    for cell in cells:
        exec(cell.removeprefix("%"), names)
    checks.check_by_hand(root, {**names, **changed})


@pytest.fixture
def lip(project):
    (project / "data" / "lip").mkdir(parents=True)
    return project


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (CELL.replace("= 4", '= "4"'), "num_epochs must be int, but '4' is str"),
        (CELL.replace("= [96, 96]", "= 96"), "input_size must be two whole numbers, [height, width], but 96 is int"),
        (CELL.replace("= [96, 96]", "= [96]"), "input_size must be two whole numbers, [height, width], but it is [96]"),
        (CELL.replace("[0, 1]", '["0"]'), "seeds must be list of int, but it is ['0']"),
        (CELL + "num_epoch = 4\n", "unknown parameter 'num_epoch'; did you mean 'num_epochs'?"),
        (CELL.replace('"data/lip"', '"data/lpi"'), "dataset_folder data/lpi doesn't exist; put the data set there"),
        (CELL.replace("2stage-leeds", "2stage-leed"), "and no network of this name ships"),
        (CELL.replace('"gccpm-2stage-leeds"', '"runs/gone.pt"'), "checkpoint_path runs/gone.pt doesn't exist"),
        (CELL.replace('"gccpm-2stage-leeds"', '""'), "02_train_lip/checkpoint.pt doesn't exist; run 02_train_lip first"),
        (CELL.replace('"cpu"', '"cdua"'), "device 'cdua' is none"),
        (CELL.replace('"cpu"', '"cuda"'), "device cuda: PyTorch finds none on this machine"),
    ],
)
def test_what_is_wrong_by_hand_is_said_in_one_line(lip, monkeypatch, cell, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(checks.ParameterError) as caught:
        by_hand(lip, cell)
    (line,) = caught.value._render_traceback_()
    assert message in line and "\n" not in line


def test_what_is_right_by_hand_passes(lip):
    by_hand(lip, CELL)
    by_hand(lip, CELL, rate=1, num_epochs=None)  # filled from a profile; a whole number is a float too
    by_hand(lip, CELL.replace('"data/lip"', '"data/lpi"'), CELL, "%len")  # corrected and run again


def test_what_papermill_injects_is_checked_too(lip):
    by_hand(lip, CELL, "# Parameters\nnum_epochs = 5\n")
    with pytest.raises(checks.ParameterError, match="did you mean 'num_epochs'"):
        by_hand(lip, CELL, "# Parameters\nnum_epoch = 5\n")
    with pytest.raises(checks.ParameterError, match="num_epochs must be int"):
        by_hand(lip, CELL, '# Parameters\nnum_epochs = "5"\n')


@pytest.mark.parametrize(
    ("folder", "asked", "expected"),
    [
        ("data/rendered_lip", None, True),
        ("data/rendered_lpi", None, False),
        ("data/rendered_lpi", True, True),
        ("data/rendered_lip", False, False),
        ("data/mine", True, False),  # is there, and holds somebody's pictures
        ("data/drawn", None, True),  # is there, and was rendered
    ],
)
def test_people_are_rendered_under_the_default_names_and_where_they_were_before(tmp_path, folder, asked, expected):
    write_beside(tmp_path / "data" / "mine" / "a.jpg", "picture")
    write_beside(tmp_path / "data" / "drawn" / "rendered.json", "{}")
    assert checks.may_render(tmp_path / folder, folder, asked) is expected


PARAMETERS = 'experiment_name = "x"\npage_name = "x"\ndataset_folder = "data/lip"\ncheckpoint_path = ""\ndevice = "cpu"\n'


@pytest.fixture
def real_names(project):
    """Notebooks that are called as the real ones and would fail if they ran."""
    from conftest import write_notebook

    for name in ("01_data_prep", "02_train_lip", "04_evaluation"):
        write_notebook(project, name, PARAMETERS, "raise RuntimeError('ran')")
    return project


def profile(project, text: str) -> list[str]:
    (project / "notebooks" / "profiles" / "p.yaml").write_text(text)
    return ["reproduce", "--profile", "p"]


def test_a_missing_folder_stops_a_profile_before_anything_runs(real_names, capsys):
    command = profile(
        real_names, "notebooks:\n  02_train_lip:\n  04_evaluation: {checkpoint_path: runs/x.pt, device: mps}\n"
    )
    assert main(command) == 2
    said = capsys.readouterr().err
    for problem in (
        "02_train_lip: dataset_folder data/lip",
        "checkpoint_path runs/x.pt doesn't",
        "04_evaluation: device mps",
    ):
        assert problem in said
    assert said.count("\n") == 1 and not (real_names / "reports").exists() and not (real_names / "runs" / "p").exists()


def test_what_a_notebook_before_it_makes_is_not_missing(real_names, capsys):
    pages = [
        f"  {name}: {{dataset_folder: data/rendered_lip}}\n" for name in ("01_data_prep", "02_train_lip", "04_evaluation")
    ]
    assert main(profile(real_names, "notebooks:\n" + "".join(pages))) == 1
    assert "RuntimeError: ran" in capsys.readouterr().err  # they were run
    assert main(profile(real_names, "notebooks:\n  04_evaluation: {dataset_folder: data/rendered_lip}\n")) == 2
    said = capsys.readouterr().err
    assert "run 01_data_prep first" in said and "runs/p/02_train_lip/checkpoint.pt doesn't exist; run 02_train_lip" in said


def test_a_trained_checkpoint_is_found(real_names, capsys):
    (real_names / "data" / "lip").mkdir(parents=True)
    write_beside(real_names / "runs" / "p" / "02_train_lip" / "checkpoint.pt", "weights")
    assert main(profile(real_names, "notebooks:\n  04_evaluation:\n")) == 1
    assert "RuntimeError: ran" in capsys.readouterr().err


def test_another_clones_library_is_named(project):
    assert notebook.foreign_library(project) == ""
    (project / "gccpm_lib" / "__init__.py").touch()
    assert f"not {project / 'gccpm_lib'}; run pip install -e" in notebook.foreign_library(project)
