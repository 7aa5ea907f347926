"""Estimates against sums done by hand."""

from dataclasses import replace

import pytest
import torch

from gccpm_lib.network import GCCPM, count_macs
from gccpm_lib.training import estimates
from gccpm_lib.training.estimates import COCO_RUN, LIP_RUN


def test_operations_are_those_of_the_counted_network():
    # GMAC as counted on the released network: 21.29 at 256 x 256, 35.92 at 384 x 288, five refinement stages
    assert estimates.forward_macs(LIP_RUN.recipe) / 1e9 == pytest.approx(21.29, abs=0.01)
    assert estimates.forward_macs(COCO_RUN.recipe) / 1e9 == pytest.approx(35.92, abs=0.01)
    assert LIP_RUN.operations == pytest.approx(2 * 21.29e9 * 100 * (3 * 30_462 + 1000), rel=1e-3)
    assert COCO_RUN.operations == pytest.approx(2 * 35.92e9 * 210 * (3 * 149_813 + 1000), rel=1e-3)


def test_the_share_of_the_peak_is_that_of_the_time_on_record():
    # 70 epochs: 2.754e17 operations in 38 h are 2.01e12 a second, of the P100's 9.3e12
    assert estimates.share_of_peak() == pytest.approx(2.754e17 / (38 * 3600) / 9.3e12, rel=1e-3)
    table = estimates.time_table()
    assert table.loc["P100", "LIP, hours"] == "54"  # 38 h for 70 epochs are 54.3 for 100
    assert table.loc["A100", "LIP, hours"] == "26"  # 54.3 x 9.3 / 19.5 = 25.9
    assert estimates.short(COCO_RUN.operations / LIP_RUN.operations) == "17"


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
    assert estimates.forward_macs(recipe) == count_macs(GCCPM(17, 1), (64, 64))


def test_the_guide_shows_the_computed_tables(request):
    pages = [*request.config.rootpath.glob("notebooks/guide/*.md"), request.config.rootpath / "README.md"]
    text = "\n".join(page.read_text() for page in pages)
    for table in (estimates.time_table(), estimates.needs_table()):
        assert estimates.as_markdown(table) in text, "run gccpm estimate and paste its tables"
