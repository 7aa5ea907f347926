"""Estimates against sums done by hand, and README against the computed tables."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gccpm_lib.network import GCCPM, count_macs
from gccpm_lib.report import profiles
from gccpm_lib.tools import estimates
from gccpm_lib.tools.estimates import COCO_RUN, DEVICES, LIP_RUN

ROOT = Path(__file__).parents[2]


def test_operations_are_those_of_the_counted_network():
    # GMAC as counted on the released network: 21.29 at 256 x 256, 35.92 at 384 x 288, five refinement stages
    assert LIP_RUN.forward_macs() / 1e9 == pytest.approx(21.29, abs=0.01)
    assert COCO_RUN.forward_macs() / 1e9 == pytest.approx(35.92, abs=0.01)
    assert LIP_RUN.operations() == pytest.approx(2 * 21.29e9 * 100 * (3 * 30_462 + 1000), rel=1e-3)
    assert COCO_RUN.operations() == pytest.approx(2 * 35.92e9 * 210 * (3 * 149_813 + 1000), rel=1e-3)


def test_hours_are_operations_over_the_assumed_share_of_the_peak():
    table = estimates.time_table()
    assert list(table.index[1:]) == [device.name for device in DEVICES]
    # A100: 3.935e17 operations over 0.3 and 0.1 of 156e12 a second are 8,409 and 25,227 s
    assert table.loc["A100", "LIP, hours"] == "2.3 to 7"
    assert "10 to 30 % of 156 TFLOP/s" in table.loc["A100", "assumed"]
    assert all(str(device.peak_tflops).removesuffix(".0") in table.loc[device.name, "assumed"] for device in DEVICES)


def test_the_cpu_row_rests_on_a_logged_speed():
    log = (ROOT / "reports" / "EXPERIMENTS.md").read_text()
    row = next(line for line in log.splitlines() if line.startswith("| 128 px, batch 32: eager contiguous / channels last"))
    low, high = estimates.CPU.images_per_s
    assert f"| {low} / {low} to {high} /" in row
    # 1.826 GMAC a picture of two stages at 128 x 128 (a quarter of 7.30), twice, times three
    assert estimates.cpu_operations_per_s() == pytest.approx((6 * 1.826e9 * low, 6 * 1.826e9 * high), rel=2e-3)


@pytest.mark.parametrize(
    "profile, notebook, job",
    [("published", "02_train_lip", LIP_RUN), ("published_coco", "03_train_coco", COCO_RUN)],
)
def test_the_jobs_are_those_of_the_published_profiles(profile, notebook, job):
    given = profiles.read_profile(ROOT, profile).notebooks[notebook]
    given = given if isinstance(given, dict) else given.parameters
    assert given["recipe"] == job.recipe.name and tuple(given["input_size"]) == job.recipe.input_size
    assert given["num_epochs"] == job.recipe.num_epochs and given["batch_size"] == job.recipe.batch_size
    assert given["num_refinement_stages"] == job.recipe.num_refinement_stages
    assert given["num_val_persons"] == job.val_persons and given["num_workers"] == estimates.NUM_WORKERS


def test_memory_is_what_pytorch_keeps_for_the_backward_pass():
    recipe = replace(LIP_RUN.recipe, input_size=(64, 64), num_refinement_stages=1, batch_size=2)
    network, kept = GCCPM(17, 1).train(), {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = network(torch.zeros(2, 3, 64, 64))
    own = {parameter.data_ptr() for parameter in network.parameters()}
    activations = sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in own)
    assert len(outputs) == 2
    assert estimates.training_bytes(recipe) == 16 * sum(p.numel() for p in network.parameters()) + activations


def test_counting_without_numbers_counts_the_same():
    recipe = replace(LIP_RUN.recipe, input_size=(64, 64), num_refinement_stages=1)
    assert replace(LIP_RUN, recipe=recipe).forward_macs() == count_macs(GCCPM(17, 1), (64, 64))


def test_readme_shows_the_computed_tables():
    readme = (ROOT / "README.md").read_text()
    for table in (estimates.time_table(), estimates.needs_table()):
        assert estimates.as_markdown(table) in readme, "run python -m gccpm_lib.tools.estimates and paste its tables"
