"""Steps that led to a network: read from the checkpoints, refused where one of them isn't the one it was."""

import shutil
from pathlib import Path

import pytest

from gccpm_lib import checkpoints
from gccpm_lib.datasets.lip import read_lip
from gccpm_lib.rendering.rendered import render_lip
from gccpm_lib.tools.lineage import data_sets, joined, training_steps
from gccpm_lib.training import label_cleaning
from gccpm_lib.training import loop as training

SMALL = dict(input_size=(32, 32), batch_size=4, num_val_persons=0, num_refinement_stages=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two trainings of rendered people, the second from the first one's weights and on changed labels."""
    folder = tmp_path_factory.mktemp("lineage")
    render_lip(folder / "lip", num_train=8, num_val=1, seed=3, progress=False)
    persons = read_lip(folder / "lip", "train")
    labels = [person.keypoints + 1 for person in persons]
    counts = {"arms": 1, "legs": 2, "joints": 3, "persons": 8}
    label_cleaning.write_labels(folder / "lip", folder / "cleaned", [person.name for person in persons], labels, counts)
    first = training.Run(str(folder / "lip"), str(folder / "one"), num_epochs=2, frozen_layers=3, **SMALL)
    second = training.Run(
        str(folder / "cleaned"), str(folder / "two"), num_epochs=1, checkpoint_path=str(first.checkpoint_file),
        from_mobilenet=False, sigma=5.0, half_turn_probability=0.25, base_lr=1e-4, rotation_degrees=10.0, **SMALL,
    )  # fmt: skip
    for run in (first, second):
        training.train(run, say=lambda _: None)
    return first, second


def test_steps_are_those_of_the_trainings_in_order(trained):
    first, second = training_steps(trained[1].checkpoint_file)
    assert (first["began_with"], second["began_with"]) == ("MobileNet", "step 1") and (
        first["number"],
        second["number"],
    ) == (1, 2)
    assert (first["epochs"], first["planned_epochs"], first["pictures"]) == (2, 2, 16)
    assert (first["frozen_layers"], first["half_turn_probability"], first["cleaned"]) == (3, 0, None)
    assert (second["sigma"], second["base_lr"], second["half_turn_probability"]) == (5.0, 1e-4, 0.25)
    assert second["cleaned"]["legs"] == 2 and second["changes"]["rotation_degrees"] == 10
    assert 0 < first["hours"] < 1 and first["data"] != second["data"]
    assert data_sets([first, second]) == {"lip": first["data"], "cleaned": second["data"]}


def test_a_data_set_that_is_gone_is_told(trained):
    folder = Path(trained[1].dataset_folder)
    aside = folder.rename(folder.with_name("aside"))
    try:
        with pytest.raises(FileNotFoundError, match=r"cleaned: .*two was trained on it"):
            training_steps(trained[1].checkpoint_file)
    finally:
        aside.rename(folder)


def test_a_published_file_carries_its_steps_on(trained, tmp_path):
    steps = training_steps(trained[0].checkpoint_file)
    network, recipe = (load(trained[0].checkpoint_file) for load in (checkpoints.load_network, checkpoints.recipe_of))
    file = checkpoints.save_network(tmp_path / "n.safetensors", network, recipe, about={"steps": steps})
    assert [step["pictures"] for step in training_steps(file)] == [16]
    strange = checkpoints.save_network(tmp_path / "strange.safetensors", network, recipe)
    run = training.Run(
        trained[0].dataset_folder, str(tmp_path / "on"), checkpoint_path=str(strange), from_mobilenet=False,
        num_epochs=1, **SMALL,
    )  # fmt: skip
    training.train(run, say=lambda _: None)
    (step,) = training_steps(run.checkpoint_file)
    assert step["began_with"] == "strange.safetensors"


def test_a_training_that_was_gone_on_with_counts_once(trained, tmp_path):
    run = training.Run(
        trained[0].dataset_folder, str(tmp_path / "on"), num_epochs=3, frozen_layers=3, weights_only=False,
        checkpoint_path=str(trained[0].checkpoint_file), from_mobilenet=False, **SMALL,
    )  # fmt: skip
    training.train(run, say=lambda _: None)
    (step,) = training_steps(run.checkpoint_file)
    assert (step["number"], step["began_with"], step["epochs"], step["pictures"]) == (1, "MobileNet", 3, 24)


def test_a_start_that_was_overwritten_is_refused(trained, tmp_path):
    run = training.Run(
        trained[0].dataset_folder, str(tmp_path / "on"), checkpoint_path=str(tmp_path / "start.pt"), from_mobilenet=False,
        num_epochs=1, **SMALL,
    )  # fmt: skip
    shutil.copy(trained[0].checkpoint_file, tmp_path / "start.pt")
    training.train(run, say=lambda _: None)
    shutil.copy(trained[1].checkpoint_file, tmp_path / "start.pt")
    with pytest.raises(ValueError, match=r"other weights than .*start\.pt holds now"):
        training_steps(run.checkpoint_file)
    (tmp_path / "start.pt").unlink()
    with pytest.raises(FileNotFoundError):
        training_steps(run.checkpoint_file)


def test_steps_of_a_mean_stand_once_and_are_numbered_on():
    first, second = {"number": 1, "began_with": "MobileNet"}, {"number": 2, "began_with": "step 1"}
    third = {"number": 3, "began_with": "step 2"}
    steps = joined([first], [first, second, third], 0.25)
    assert steps[:3] == [first, second, third]
    assert (steps[3]["number"], steps[3]["mean_of"], steps[3]["share"]) == (4, [1, 3], 0.25)
    other = {"number": 2, "began_with": "step 1", "dataset": "other"}
    steps = joined([first, second], [first, other, {"number": 3, "mean_of": [1, 2], "share": 0.5}], 0.5)
    assert steps[2] == other | {"number": 3} and steps[3]["mean_of"] == [1, 3] and steps[4]["mean_of"] == [2, 4]
    assert joined([first, second], [first], 0.5)[-1]["mean_of"] == [2, 1]
    assert data_sets(steps[3:]) == {}
