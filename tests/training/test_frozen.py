"""Training the refinement stages alone: what stands before them stays, and is computed once for all trainings."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import lively_network, quiet, small_run, write_lip

from gccpm_lib.checkpoints import network_weights, read_checkpoint, save_network
from gccpm_lib.recipes import LIP_MODERN
from gccpm_lib.training import frozen
from gccpm_lib.training.loop import train
from gccpm_lib.training.run import Run
from gccpm_lib.training.start import start


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Run:
    """Two epochs of a fresh refinement stage behind a network that is frozen."""
    folder = tmp_path_factory.mktemp("frozen")
    write_lip(folder / "lip", (("train", 5), ("val", 1)))
    save_network(folder / "start.safetensors", lively_network(1), LIP_MODERN)
    return replace(
        small_run(folder / "lip", folder / "run"), checkpoint_path=str(folder / "start.safetensors"), from_mobilenet=False,
        fresh_refinement=True, refinement_only=True, num_refinement_stages=1, num_val_persons=0,
    )  # fmt: skip


def trained(run: Run) -> tuple[list[dict], dict[str, torch.Tensor]]:
    history = train(run, quiet)
    return history, network_weights(read_checkpoint(run.checkpoint_file))


def unchanged(image, keypoints, rng):
    return image, keypoints


def test_what_stands_before_the_refinement_stages_stays_to_the_last_bit(base, tmp_path):
    run = replace(base, output_folder=str(tmp_path / "run"))
    before = start(run, run.full_recipe(), say=quiet).network.state_dict()
    _, after = trained(run)
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("refinement_stages.") for name in changed)


def test_kept_outputs_change_nothing_that_is_trained(base, tmp_path):
    as_ever = trained(replace(base, output_folder=str(tmp_path / "as_ever")))
    kept = replace(base, output_folder=str(tmp_path / "kept"), frozen_folder=str(tmp_path / "frozen"))
    for _ in range(2):  # computed, then read
        history, weights = trained(kept)
        for one, other in zip(history, as_ever[0], strict=True):
            assert one["losses"] == pytest.approx(other["losses"], rel=1e-5)
        for name, value in as_ever[1].items():
            torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-5)
        kept = replace(kept, output_folder=str(tmp_path / "again"))


def test_another_block_needs_nothing_computed_and_another_seed_does(base, tmp_path, monkeypatch):
    run = replace(base, output_folder=str(tmp_path / "none"), context="none", frozen_folder=str(tmp_path / "frozen"))
    train(run, quiet)
    files = sorted(Path(run.frozen_folder).iterdir())
    assert len(files) == run.num_epochs * 3  # batches of two of five persons
    tensors, _ = torch.load(files[0], weights_only=True)
    assert tensors[0].shape[1:] == (128, 8, 8) and tensors[3].shape[1:] == (17, 8, 8)

    def computed(*arguments):
        raise AssertionError("computed again")

    monkeypatch.setattr(frozen, "_computed", computed)
    train(replace(run, output_folder=str(tmp_path / "ppm"), context="ppm", num_refinement_stages=2), quiet)
    with pytest.raises(AssertionError, match="computed again"):
        train(replace(run, output_folder=str(tmp_path / "seed"), seed=run.seed + 1), quiet)
    with pytest.raises(AssertionError, match="computed again"):
        train(replace(run, output_folder=str(tmp_path / "own"), augmentation=unchanged), quiet)


def test_what_cannot_be_is_refused_in_a_line(base, tmp_path):
    with pytest.raises(ValueError, match="nothing is left to train"):
        replace(base, num_refinement_stages=0).full_recipe()
    with pytest.raises(ValueError, match="frozen_folder: give refinement_only=True"):
        replace(base, refinement_only=None, frozen_folder=str(tmp_path)).full_recipe()
