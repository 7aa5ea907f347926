"""The profiles for full LIP and COCO, rehearsed: every value as it stands, but one epoch of two steps, and on the CPU.

Persons are noise, so no score means anything. What is shown is that nothing on the way fails at full size: 6 stages, the
published crops, batch, schedule and loader processes, an interrupt after the first step, validation, evaluation and export.
LIP's batch takes 8 GB of memory and COCO's 13; where there is less, a step is added up over four parts of the batch.
"""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import psutil
import pytest
from conftest import write_coco, write_lip

from gccpm_lib.__main__ import main
from gccpm_lib.checkpoints import read_checkpoint
from gccpm_lib.recipes import get_recipe
from gccpm_lib.report import profiles
from gccpm_lib.training.estimates import training_bytes
from gccpm_lib.training.run import from_parameters

ROOT = Path(__file__).parents[1]
STEPS = 2


@pytest.fixture
def project(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings_for(profile: profiles.Profile, page: str) -> list[str]:
    """What differs from the profile: where the data lie, the device, and how often speed is measured."""
    own = [f"{name}.device=cpu" for name in profile.notebooks if "device" in profile.notebooks[name]]
    own += [
        f"{page}.num_epochs=1",
        "06_export.num_choice_persons=4",
        "06_export.benchmark_stages=[6]",
        "06_export.rounds=2",
        "06_export.max_loss=100",  # the first level of INT8 will do
    ]
    return [f"{name}.dataset_folder=data/noise" for name in profile.notebooks] + own


INTERRUPTED = """
import json, signal, sys
from gccpm_lib.training import Run, train
train(Run(**json.loads(sys.argv[1])), lambda line: " batch " in line and signal.raise_signal(signal.SIGINT))
"""


def interrupted_after_one_step(run) -> dict:
    """The checkpoint that a Ctrl-C after the first step leaves; in a process of its own, which gives its memory back."""
    parameters = json.dumps(dataclasses.asdict(dataclasses.replace(run, log_after=1)))
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED, parameters], capture_output=True, text=True)
    assert ended.returncode and "KeyboardInterrupt" in ended.stderr, ended.stderr[-500:]
    return read_checkpoint(run.checkpoint_file)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "page", "recipe", "gaussian"),
    [("published", "02_train_lip", "lip-corrected", 7.0), ("published_coco", "03_train_coco", "coco-corrected", 3.0)],
)
def test_a_full_run_in_two_steps(project, name, page, recipe, gaussian):
    persons = STEPS * get_recipe(recipe).batch_size
    if name == "published":
        write_lip(project / "data" / "noise", (("train", persons), ("val", 6)))
    else:
        write_coco(project / "data" / "noise", counts=(("train", persons // 2), ("val", 3)))  # two persons in each picture
    settings = settings_for(profiles.read_profile(project, name), page)
    settings += ["06_export.scene_folder=data/noise"] if name == "published_coco" else []

    parts = 1 if psutil.virtual_memory().available > 2 * training_bytes(get_recipe(recipe)) else 4
    size = get_recipe(recipe).batch_size // parts
    settings += [] if parts == 1 else [f"{page}.batch_size={size}", f"{page}.batches_per_iter={parts}"]
    profile = profiles.read_profile(project, name, settings)
    places = {"dataset_folder": str(project / "data" / "noise"), "output_folder": str(project / "runs" / name / page)}
    run = from_parameters(profiles.all_parameters(project, profile, page), **places)
    assert (
        run.full_recipe() == dataclasses.replace(get_recipe(recipe), num_epochs=1, batch_size=size) and run.num_workers == 8
    )
    assert interrupted_after_one_step(run)["batch"] == parts

    assert main(["reproduce", "--profile", name, *(part for text in settings for part in ("--set", text))]) == 0
    folder = run.checkpoint_file.parent
    assert [path.name for path in folder.parent.glob(f"{page}*")] == [page]  # gone on from, not moved aside
    saved = read_checkpoint(run.checkpoint_file)
    assert (saved["epoch"], saved["shape"]["num_refinement_stages"], saved["sigma"]) == (1, 5, gaussian)
    assert {int(state["step"]) for state in saved["optimizer"]["state"].values()} == {STEPS}
    (row,) = json.loads((folder / "history.json").read_text())
    assert len(row["losses"]) == 6 and "val" in row
    exported = folder.parent / "06_export"
    outputs = [output.name for output in onnx.load(exported / "human-pose-estimation.onnx").graph.output]
    assert outputs == [f"stage_{stage}_output_1_heatmaps" for stage in range(6)]
    assert all((exported / kind / "human-pose-estimation.xml").is_file() for kind in ("FP32", "FP16", "INT8"))
    assert (
        json.loads((project / "reports" / name / "metrics.json").read_text())["notebooks"].keys()
        == profile.notebooks.keys()
    )
