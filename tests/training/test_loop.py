"""Training and runs: it learns, it continues exactly where it stopped, and it never overwrites another run."""

import dataclasses
import json
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import assert_same_end, lively_network, quiet, small_run, tensors_of, write_coco, write_lip
from torch import nn

from gccpm_lib.checkpoints import load_network, network_weights, read_checkpoint, recipe_of
from gccpm_lib.datasets.lip import read_lip
from gccpm_lib.evaluation.validation import LipValidation
from gccpm_lib.loading import Batch, TrainingSet, epoch_batches, make_loader
from gccpm_lib.recipes import LIP_MODERN, LIP_PUBLISHED
from gccpm_lib.training import loop as training
from gccpm_lib.training.__main__ import main as run_file
from gccpm_lib.training.loop import optimiser_step, train
from gccpm_lib.training.objective import parameter_groups
from gccpm_lib.training.run import Run, State
from gccpm_lib.training.start import start


class Stop(Exception):
    """The power goes off."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A LIP folder that no test changes: 10 train and 3 val pictures."""
    path = tmp_path_factory.mktemp("data") / "lip"
    write_lip(path, (("train", 10), ("val", 3)))
    return path


@pytest.fixture
def run(folder, tmp_path) -> Run:
    return small_run(folder, tmp_path / "run")


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory) -> Run:
    """The same run, trained to its end in one go."""
    run = replace(small_run(folder, tmp_path_factory.mktemp("whole") / "run"), checkpoint_after=1000)
    train(run, quiet)
    return run


def elsewhere(run: Run, name="other", **changes) -> Run:
    return replace(run, output_folder=run.output_folder + name, **changes)


def break_off(run: Run, after: int, error=Stop) -> None:
    """Train until the log has said this many lines, then break off."""
    said = []

    def say(line):
        said.append(line)
        if len(said) == after:
            raise error

    with pytest.raises(error):
        train(run, say)


def test_the_loss_falls_and_the_history_tells(run):
    run = replace(run, num_epochs=4, base_lr=3e-3, ema_decay=0.5, checkpoint_after=1000, num_val_persons=2)
    history = train(run, quiet)
    losses = [row["losses"][0] for row in history]
    assert losses[-1] < 0.7 * losses[0]
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    for row in history:
        assert len(row["losses"]) == 1 and row["train_s"] > 0 and row["images_per_s"] == pytest.approx(10 / row["train_s"])
        assert list(row["val"])[-1] == "Avg." and np.array(row["examples"]).shape == (2, 16, 3)
    assert history[-1]["lr"] == pytest.approx(0, abs=1e-9) and history[0]["lr"] > history[1]["lr"] > 0


def test_a_finished_run_leaves_readable_files_and_a_network_to_predict_with(run):
    history = train(run, quiet)
    files = run.checkpoint_file.parent
    assert sorted(p.name for p in files.iterdir()) == [
        "checkpoint.previous.pt", "checkpoint.pt", "history.json", "run.json",
    ]  # fmt: skip
    assert json.loads((files / "history.json").read_text()) == history
    assert Run(**json.loads((files / "run.json").read_text())).full_recipe() == run.full_recipe()
    network = load_network(run.checkpoint_file)
    assert network.shape["num_refinement_stages"] == 0 and network.shape["upsampling"] == "bilinear"
    recipe = recipe_of(run.checkpoint_file)
    assert recipe.name == "lip-modern" and recipe.input_size == (64, 64)
    saved = read_checkpoint(run.checkpoint_file)
    assert saved["run"]["seed"] == 0 and saved["data"] and {"commit", "torch", "cpu"} <= saved["provenance"].keys()
    average = saved["average"]
    assert all(torch.equal(value, average[f"module.{key}"]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("after", [3, 5, 8], ids=lambda n: f"line {n}")
def test_a_run_cut_off_anywhere_ends_as_one_that_was_not(run, whole, after):
    """Lines 1-4 and 6-9 come after batches, 5 and 10 after the epochs; the checkpoint is older than the line."""
    break_off(run, after)
    train(run, quiet)
    assert_same_end(run, whole)


def test_an_interrupt_ends_the_batch_saves_and_is_continued_exactly(run, whole):
    handler = signal.getsignal(signal.SIGINT)
    said = []

    def say(line):
        said.append(line)
        if len(said) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(replace(run, checkpoint_after=1000), say)
    assert "interrupted in epoch 1; run again" in said[-1]
    saved = read_checkpoint(run.checkpoint_file)
    assert (saved["epoch"], saved["batch"]) == (0, 2)
    assert signal.getsignal(signal.SIGINT) is handler
    train(run, quiet)
    assert_same_end(run, whole)


def test_an_interrupt_in_the_last_batch_of_an_epoch_loses_nothing(run, whole):
    seen, original = [], training.optimiser_step

    def interrupted_step(*arguments):
        seen.append(True)
        if len(seen) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "optimiser_step", interrupted_step)
        with pytest.raises(KeyboardInterrupt):
            train(run, quiet)
    assert read_checkpoint(run.checkpoint_file)["batch"] == 5
    train(run, quiet)
    assert_same_end(run, whole)


def test_accumulating_runs_continue_exactly_too(run):
    run = replace(run, batches_per_iter=2, num_epochs=1, num_val_persons=0)  # steps on batches 1+2, 3+4 and 5
    whole = elsewhere(run)
    train(whole, quiet)
    break_off(run, 2)
    assert read_checkpoint(run.checkpoint_file)["batch"] == 2
    train(run, quiet)
    assert_same_end(run, whole)


def test_a_finished_run_is_not_trained_again(run, monkeypatch):
    history = train(run, quiet)
    monkeypatch.setattr(training, "optimiser_step", None)
    assert json.dumps(train(run, quiet)) == json.dumps(history)


def test_what_doesnt_change_the_result_may_change_between_two_halves(run, whole):
    break_off(run, 3)
    train(replace(run, log_after=100, checkpoint_after=3), quiet)
    assert_same_end(run, whole)


def test_another_run_in_the_folder_is_moved_aside_and_told(run):
    train(replace(run, num_epochs=1, num_train_persons=2), quiet)
    old = run.checkpoint_file.read_bytes()
    for number in (1, 2):
        said = []
        train(replace(run, num_epochs=1, seed=number, num_train_persons=2), said.append)
        aside = run.checkpoint_file.parent.with_name(f"run.{number}")
        assert f"(seed {number - 1} -> {number}) moved to run.{number}" in said[0]
        assert (aside / "checkpoint.pt").exists() and (aside / "history.json").exists()
    assert (run.checkpoint_file.parent.with_name("run.1") / "checkpoint.pt").read_bytes() == old


def test_to_write_out_what_the_recipe_says_makes_no_other_run(run):
    run = replace(run, num_epochs=1, num_train_persons=2)
    history = train(run, quiet)
    own = {name: getattr(LIP_MODERN, name) for name in ("base_lr", "sigma", "progressive", "ema_decay")}
    assert json.dumps(train(replace(run, **own), quiet)) == json.dumps(history)
    said = []
    train(replace(run, **own | {"base_lr": 1e-4}), said.append)
    assert "(base_lr 0.001 -> 0.0001) moved to run.1" in said[0]


def test_a_checkpoint_older_than_an_option_is_gone_on_from(run):
    """A file that doesn't name an option was written when only its default existed."""
    run = replace(run, num_epochs=1, num_train_persons=2)
    history = train(run, quiet)
    saved = torch.load(run.checkpoint_file, weights_only=True)
    del saved["run"]["fresh_refinement"]
    torch.save(saved, run.checkpoint_file)
    assert json.dumps(train(run, quiet)) == json.dumps(history)
    said = []
    train(replace(run, fresh_refinement=True), said.append)
    assert "fresh_refinement False -> True" in said[0]


def test_frozen_layers_stay_as_they_were_to_the_last_bit(run):
    """Their running statistics too, with and without a moving average of the weights."""
    for ema_decay in (0.0, 0.9):
        short = elsewhere(
            run, f"frozen{ema_decay}", num_epochs=1, num_train_persons=4, frozen_layers=3, ema_decay=ema_decay
        )
        before = start(replace(short, output_folder=short.output_folder + "_start"), short.full_recipe()).network
        before = before.state_dict()
        train(short, quiet)
        for name, value in network_weights(read_checkpoint(short.checkpoint_file)).items():
            if name.startswith(("model.0.", "model.1.", "model.2.")):
                assert torch.equal(value, before[name]), name
            elif name.endswith(("weight", "running_mean")):
                assert not torch.equal(value, before[name]), name


@pytest.mark.parametrize("number", [-1, 13])
def test_more_frozen_layers_than_there_are_are_refused(run, number):
    with pytest.raises(ValueError, match="backbone has 12 layers"):
        replace(run, frozen_layers=number).full_recipe()


def test_the_weights_that_a_run_began_with_may_be_called_by_another_name(run, tmp_path):
    """The project's folder may be moved, or a path be given whole: the weights count."""
    first = replace(run, num_epochs=1, num_train_persons=2)
    train(first, quiet)
    second = elsewhere(first, checkpoint_path=str(first.checkpoint_file), from_mobilenet=False)
    history = train(second, quiet)
    same = shutil.copy(first.checkpoint_file, tmp_path / "the_same.pt")
    assert json.dumps(train(replace(second, checkpoint_path=str(same)), quiet)) == json.dumps(history)


def test_other_seeds_end_elsewhere(run):
    run = replace(run, num_epochs=1, num_val_persons=0, num_train_persons=4)
    train(run, quiet)
    train(elsewhere(run, seed=1), quiet)
    first, second = tensors_of(run), tensors_of(elsewhere(run))
    assert any(not torch.equal(first[key], second[key]) for key in first if key.endswith("weight"))


@pytest.mark.slow
def test_worker_processes_change_nothing(run):
    run = replace(run, num_epochs=1)
    train(run, quiet)
    train(elsewhere(run, num_workers=1), quiet)
    assert_same_end(run, elsewhere(run))


# what is trained on, and from what


def test_both_splits_are_trained_on_when_asked_for(run, monkeypatch):
    seen = []
    monkeypatch.setattr(
        training, "train_epoch", lambda state, run, recipe, loader, say: seen.append(loader.dataset.persons)
    )
    monkeypatch.setattr(
        training, "finish_epoch", lambda state, *rest: setattr(state, "epoch", state.epoch + 1) or seen.append(rest[2])
    )
    train(replace(run, train_and_val=True, num_epochs=1), quiet)
    assert [p.image_path.parent.name for p in seen[0]] == ["train_images"] * 10 + ["val_images"] * 3
    assert [p.image_path.parent.name for p in seen[1].persons] == ["val_images"] * 3
    seen.clear()
    train(replace(run, num_epochs=1, num_train_persons=4, num_val_persons=1), quiet)
    assert len(seen[0]) == 4 and len(seen[1].persons) == 1


def test_a_file_in_cocos_format_with_other_joints_trains_by_parameters_alone(tmp_path):
    joints = ("nose", "neck", *(f"{s}_{j}" for s in ("left", "right") for j in ("hand", "elbow", "hip", "knee")))
    write_coco(tmp_path / "own", joints)
    (tmp_path / "own/annotations/person_keypoints_train2017.json").rename(tmp_path / "own/annotations/mine.json")
    run = Run(
        str(tmp_path / "own"), str(tmp_path / "out"), "coco-modern", train_labels="mine.json", num_refinement_stages=0,
        input_size=(64, 64), batch_size=4, num_epochs=2, num_val_persons=2,
    )  # fmt: skip
    history = train(run, quiet)
    assert 0 <= history[-1]["val"]["AP"] <= 100 and np.array(history[-1]["examples"]).shape == (2, 10, 3)
    recipe = recipe_of(run.checkpoint_file)
    assert recipe.skeleton.joints == joints and len(recipe.skeleton.flip_pairs) == 4
    assert load_network(run.checkpoint_file).shape["num_heatmaps"] == 10
    again = train(run, quiet)  # nothing is trained anew
    assert str(again) == str(history)  # as text: a score without an instance is nan


def test_a_network_of_other_joints_is_a_start(run, tmp_path):
    train(replace(run, num_epochs=1, num_val_persons=0), quiet)
    write_coco(tmp_path / "coco")
    said = []
    from_lip = Run(
        str(tmp_path / "coco"), str(tmp_path / "out"), "coco-modern", str(run.checkpoint_file), from_mobilenet=False,
        num_refinement_stages=run.num_refinement_stages, input_size=(64, 64), batch_size=4, num_epochs=1, num_val_persons=0,
    )  # fmt: skip
    history = train(from_lip, said.append)
    assert np.isfinite(history[0]["losses"]).all() and any("12 of 17 maps" in line for line in said)


def test_other_weights_under_the_same_path_are_another_start(run, tmp_path):
    first = replace(run, output_folder=str(tmp_path / "first"), num_epochs=1, num_val_persons=0)
    train(first, quiet)
    second = replace(
        first, output_folder=str(tmp_path / "b"), checkpoint_path=str(first.checkpoint_file), from_mobilenet=False
    )
    before, said = train(second, quiet), []
    assert str(train(second, said.append)) == str(before) and not said
    content = read_checkpoint(first.checkpoint_file)
    content["network"]["cpm.0.0.weight"] += 0.01
    torch.save(content, first.checkpoint_file)
    train(second, said.append)
    assert any("other weights in checkpoint_path" in line for line in said)
    first.checkpoint_file.unlink()  # gone for good: what it started is still whole
    assert read_checkpoint(second.checkpoint_file)["epoch"] == 1
    said.clear()
    train(second, said.append)
    assert not said


def test_without_validation_the_history_has_no_score(run):
    history = train(replace(run, num_epochs=1, num_val_persons=0), quiet)
    assert "val" not in history[0] and "examples" not in history[0]


def test_values_of_a_run_replace_those_of_its_recipe_and_none_doesnt():
    run = Run("data", "out", recipe="lip-published", sigma=5.0, input_size=[128, 128], num_epochs=3)
    expected = replace(LIP_PUBLISHED, sigma=5.0, input_size=(128, 128), num_epochs=3)
    assert run.full_recipe() == expected
    assert Run("data", "out", recipe="lip-published").full_recipe() == LIP_PUBLISHED


def test_option_names_are_those_of_the_released_scripts():
    names = {field.name for field in dataclasses.fields(Run)}
    assert names >= {
        "dataset_folder", "checkpoint_path", "from_mobilenet", "num_refinement_stages", "base_lr", "batch_size",
        "batches_per_iter", "num_workers", "weights_only", "log_after", "checkpoint_after", "input_size",
    }  # fmt: skip


def test_a_new_run_starts_from_the_shipped_mobilenet_unless_told_otherwise(run):
    recipe = run.full_recipe()
    shipped = start(run, recipe).network.state_dict()
    nothing = start(replace(run, from_mobilenet=False), recipe).network.state_dict()
    equal = {key for key in shipped if torch.equal(shipped[key], nothing[key])}
    assert {key for key in equal if key.endswith("weight") and not key.startswith("model.")} >= {"cpm.0.0.weight"}
    assert not any(key.startswith("model.") and key.endswith("0.weight") for key in equal)


def test_weights_of_another_run_are_taken_over_from_the_start(run):
    train(replace(run, num_epochs=1), quiet)
    path = str(run.checkpoint_file)
    next_run = elsewhere(run, checkpoint_path=path, from_mobilenet=False)
    state = start(next_run, next_run.full_recipe())
    kept = read_checkpoint(path)["network"]
    assert all(torch.equal(value, kept[key]) for key, value in state.network.state_dict().items())
    assert (state.epoch, state.batch, state.history) == (0, 0, []) and not state.optimizer.state


def test_another_runs_position_is_taken_over_when_asked_for(run, whole):
    break_off(run, 3)
    next_run = elsewhere(run, checkpoint_path=str(run.checkpoint_file), from_mobilenet=False, weights_only=False)
    train(next_run, quiet)
    assert_same_end(next_run, whole)


def test_weights_alone_cannot_give_a_position(run, tmp_path):
    torch.save(lively_network(0).state_dict(), tmp_path / "published.pth")
    run = replace(run, checkpoint_path=str(tmp_path / "published.pth"), from_mobilenet=False, weights_only=False)
    with pytest.raises(ValueError, match="no training of this library; give weights_only=True"):
        start(run, run.full_recipe())


def test_a_checkpoint_of_another_depth_is_refused_by_name(run, tmp_path):
    torch.save(lively_network(1).state_dict(), tmp_path / "deeper.pth")
    run = replace(run, checkpoint_path=str(tmp_path / "deeper.pth"), from_mobilenet=False)
    with pytest.raises(ValueError, match=r"deeper\.pth.*refinement_stages\.0"):
        start(run, run.full_recipe())


def test_other_labels_are_another_run(run, folder, tmp_path):
    train(replace(run, num_epochs=1), quiet)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    lines = []
    train(replace(run, num_epochs=1, dataset_folder=str(copy)), lines.append)
    assert lines == []  # the same labels elsewhere: nothing left to train
    labels = next(copy.rglob("lip_train_set.csv"))
    labels.write_text("".join(labels.read_text().splitlines(keepends=True)[1:]))
    train(replace(run, num_epochs=1, dataset_folder=str(copy)), lines.append)
    assert "other training persons, labels or joints" in lines[0]


@pytest.mark.parametrize("size", [(100, 100), (64,), (64, 128), (0, 0)])
def test_input_sizes_that_do_not_fit_are_refused(run, size):
    with pytest.raises(ValueError, match="input_size"):
        replace(run, input_size=size).full_recipe()


def test_a_whole_network_is_not_taken_for_a_mobilenet(run, tmp_path):
    torch.save(lively_network(0).state_dict(), tmp_path / "whole.pth")
    run = replace(run, checkpoint_path=str(tmp_path / "whole.pth"))
    with pytest.raises(ValueError, match="from_mobilenet=False"):
        start(run, run.full_recipe())


# one step


class Affine(nn.Module):
    """A network without batch normalisation: one convolution at stride 8."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 17, 8, stride=8)

    def forward(self, x):
        return [self.layer(x)]


def stepped(recipe, batches, rate=1.0) -> tuple[dict, torch.Tensor]:
    network = Affine()
    optimizer = torch.optim.SGD(parameter_groups(network, recipe))
    for group in optimizer.param_groups:
        group["initial_lr"], group["weight_decay"] = group["lr"], 0.0
    losses, _ = optimiser_step(State(network, optimizer, None), batches, recipe, "cpu", rate)
    return network.state_dict(), losses


@pytest.mark.parametrize("recipe", [LIP_MODERN, LIP_PUBLISHED], ids=lambda r: r.name)
def test_accumulated_batches_of_any_size_give_the_gradient_of_the_joint_batch(recipe, folder):
    recipe = replace(recipe, batch_size=10, input_size=(64, 64), precision="float32")
    persons = read_lip(folder, "train")
    (joint,) = make_loader(TrainingSet(persons, recipe, 0), epoch_batches(10, 0, recipe, 0), 0)
    parts = [Batch([tensor[a:b] for tensor in joint.tensors], []) for a, b in ((0, 4), (4, 8), (8, 10))]
    (whole, loss), (accumulated, mean_loss) = stepped(recipe, [joint]), stepped(recipe, parts)
    before = Affine().state_dict()
    for key in whole:
        assert not torch.equal(whole[key], before[key])
        torch.testing.assert_close(accumulated[key] - before[key], whole[key] - before[key], rtol=1e-3, atol=1e-8)
    torch.testing.assert_close(loss, mean_loss)


def test_the_rate_multiplies_the_groups_own_rates(folder):
    recipe = replace(LIP_PUBLISHED, batch_size=2, input_size=(64, 64))
    persons = read_lip(folder, "train")[:2]
    batches = list(make_loader(TrainingSet(persons, recipe, 0), epoch_batches(2, 0, recipe, 0), 0))
    before, (full, _), (tenth, _) = Affine().state_dict(), stepped(recipe, batches), stepped(recipe, batches, rate=0.1)
    for key in before:
        torch.testing.assert_close(tenth[key] - before[key], 0.1 * (full[key] - before[key]), rtol=1e-3, atol=1e-7)


# the published recipe


def test_the_published_recipe_trains_and_lowers_its_rate_on_a_plateau(run, monkeypatch):
    run = replace(run, recipe="lip-published", num_epochs=9, num_train_persons=2)
    monkeypatch.setattr(LipValidation, "scores", lambda *_: {"Avg.": 20.0})
    history = train(run, quiet)
    rates = [row["lr"] / 4e-5 for row in history]
    assert rates == pytest.approx([1] * 7 + [0.1] * 2)  # the best and six without progress, then a tenth
    saved = read_checkpoint(run.checkpoint_file)
    assert saved["average"] is None
    assert sorted({group["lr"] for group in saved["optimizer"]["param_groups"]}) == pytest.approx([4e-6, 8e-6])


def test_the_published_recipe_never_trains_the_norms_of_cpm(run):
    run = replace(run, recipe="lip-published", num_epochs=1, num_val_persons=0)
    before = {key: value.clone() for key, value in start(run, run.full_recipe()).network.state_dict().items()}
    train(run, quiet)
    after = read_checkpoint(run.checkpoint_file)["trained"]
    unchanged = {key for key in after if torch.equal(after[key], before[key])}
    assert unchanged == {f"cpm.{i}.1.{name}" for i in (0, 1) for name in ("weight", "bias")}


def test_training_by_file_is_training(run, tmp_path):
    run = replace(run, num_epochs=1, num_val_persons=0)
    (tmp_path / "run.json").write_text(json.dumps(dataclasses.asdict(run)))
    run_file(str(tmp_path / "run.json"))
    assert read_checkpoint(run.checkpoint_file)["epoch"] == 1
