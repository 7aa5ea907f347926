"""The network: published sizes, names and shapes."""

import pytest
import torch
from conftest import lively_network
from torch import nn

from gccpm_lib.network import GCCPM, UShapedContext, count_macs, count_parameters


def meta_network(**shape) -> GCCPM:
    """A network without memory behind it: shapes alone."""
    with torch.device("meta"):
        return GCCPM(**shape)


@pytest.mark.parametrize(
    "stages, million, square, portrait",
    [(0, 3.61, 3.81, 6.42), (1, 11.00, 7.30, 12.32), (4, 33.20, 17.79, 30.02), (5, 40.60, 21.29, 35.92)],
)
def test_size_and_cost_are_the_published_ones(stages, million, square, portrait):
    network = meta_network(num_refinement_stages=stages)
    assert round(count_parameters(network) / 1e6, 2) == million
    assert round(meta_macs(network, (256, 256)) / 1e9, 2) == square
    assert round(meta_macs(network, (384, 288)) / 1e9, 2) == portrait


def meta_macs(network: nn.Module, size: tuple[int, int]) -> int:
    total = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, _, out: total.append(out[0].numel() * m.weight[0].numel()))
    network.eval()(torch.zeros(1, 3, *size, device="meta"))
    return sum(total)


def test_count_macs_agrees_leaves_no_hook_and_keeps_the_mode():
    network = GCCPM(num_refinement_stages=0).train()
    assert round(count_macs(network, (256, 256)) / 1e9, 2) == 3.81
    assert network.training and not any(m._forward_hooks for m in network.modules())


def test_key_names_are_the_published_ones():
    keys = set(meta_network(num_refinement_stages=2).state_dict())
    conv_bn = {"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"}
    norm = {k for k in conv_bn if k.startswith("1.")}
    expected = {f"model.0.{k}" for k in conv_bn - {"0.bias"}}
    for layer in range(1, 12):
        expected |= {f"model.{layer}.{i}.weight" for i in (0, 3)}
        expected |= {f"model.{layer}.{i}.{k[2:]}" for i in (1, 4) for k in norm}
    blocks = ["cpm.0", "cpm.1", *(f"initial_stage.trunk.{i}" for i in range(3))]
    pointwise = ["initial_stage.heatmaps.0", "initial_stage.heatmaps.1"]
    for stage in range(2):
        trunk = f"refinement_stages.{stage}.trunk"
        blocks += [f"{trunk}.0.{part}.{i}" for part in ("encoder1", "encoder2", "decoder2", "decoder1") for i in (0, 1)]
        blocks += [f"{trunk}.{block}.trunk.{i}" for block in (1, 2, 3) for i in (0, 1)]
        pointwise += [f"{trunk}.{block}.initial" for block in (1, 2, 3)]
        pointwise += [f"refinement_stages.{stage}.heatmaps.{i}" for i in (0, 1)]
    expected |= {f"{block}.{k}" for block in blocks for k in conv_bn}
    expected |= {f"{block}.0.{k}" for block in pointwise for k in ("weight", "bias")}
    assert keys == expected


def test_shapes_of_the_layers_are_the_published_ones():
    shapes = {key: tuple(value.shape) for key, value in meta_network().state_dict().items()}
    c, trunk = 128 + 17, "refinement_stages.0.trunk"
    for key, shape in {
        "model.0.0": (32, 3, 3, 3), "model.7.0": (512, 1, 3, 3), "model.11.3": (512, 512, 1, 1),
        "cpm.0.0": (256, 512, 3, 3), "cpm.1.0": (128, 256, 3, 3), "initial_stage.heatmaps.0.0": (512, 128, 1, 1),
        "initial_stage.heatmaps.1.0": (17, 512, 1, 1), f"{trunk}.0.encoder1.0.0": (2 * c, c, 3, 3),
        f"{trunk}.0.encoder2.0.0": (2 * c, 2 * c, 3, 3), f"{trunk}.0.decoder2.0.0": (2 * c, 4 * c, 3, 3),
        f"{trunk}.0.decoder1.0.0": (2 * c, 3 * c, 3, 3), f"{trunk}.0.decoder1.1.0": (c, 2 * c, 3, 3),
        f"{trunk}.1.initial.0": (128, c, 1, 1), "refinement_stages.0.heatmaps.0.0": (128, 128, 1, 1),
    }.items():  # fmt: skip
        assert shapes[f"{key}.weight"] == shape


def test_the_seventh_layer_and_the_second_residual_convolutions_are_dilated():
    dilated = {
        name
        for name, module in meta_network().named_modules()
        if isinstance(module, nn.Conv2d) and module.dilation != (1, 1)
    }
    assert dilated == {"model.7.0"} | {f"refinement_stages.0.trunk.{i}.trunk.1.0" for i in (1, 2, 3)}


@pytest.mark.parametrize("size", [(256, 256), (384, 288), (200, 136), (64, 8)])
@pytest.mark.parametrize("upsampling", ["bilinear", "nearest"])
def test_every_stage_has_maps_at_an_eighth_of_the_picture(size, upsampling):
    outputs = meta_network(num_refinement_stages=2, upsampling=upsampling).eval()(torch.zeros(2, 3, *size, device="meta"))
    assert [tuple(o.shape) for o in outputs] == [(2, 17, size[0] // 8, size[1] // 8)] * 3


def test_other_numbers_of_heatmaps_and_channels_fit_together():
    outputs = meta_network(num_heatmaps=21, num_channels=64)(torch.zeros(1, 3, 64, 64, device="meta"))
    assert [tuple(o.shape) for o in outputs] == [(1, 21, 8, 8)] * 2


def test_sizes_that_are_no_multiples_of_32_compute_finite_maps():
    with torch.inference_mode():
        assert all(o.isfinite().all() for o in lively_network(1)(torch.randn(1, 3, 200, 136)))


def test_nearest_and_bilinear_differ_in_refined_maps_alone():
    a, b = lively_network(1, upsampling="bilinear"), lively_network(1, upsampling="nearest")
    with torch.inference_mode():
        (a0, a1), (b0, b1) = (net(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))) for net in (a, b))
    torch.testing.assert_close(a0, b0)
    assert (a1 - b1).abs().max() > 1e-4 * a1.abs().max()


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_context_block_is_the_published_wiring(mode):
    block = UShapedContext(6, mode).eval()
    x = torch.randn(1, 6, 10, 6)
    align = dict(align_corners=False) if mode == "bilinear" else {}

    def resize(maps, like):
        return nn.functional.interpolate(maps, size=like.shape[2:], mode=mode, **align)

    with torch.inference_mode():
        e1 = block.encoder1(x)
        e2 = block.encoder2(e1)
        d2 = block.decoder2(torch.cat([e1, resize(e2, e1)], 1))
        torch.testing.assert_close(block(x), block.decoder1(torch.cat([x, resize(d2, x)], 1)))
    assert e1.shape[2:] == (5, 3) and e2.shape[2:] == (3, 2)


def test_each_stage_sees_the_features_and_the_maps_before_it():
    network, seen = meta_network(num_refinement_stages=2), []
    for stage in network.refinement_stages:
        stage.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    outputs = network(torch.zeros(1, 3, 64, 64, device="meta"))
    assert [maps is output for (_, maps), output in zip(seen, outputs, strict=False)] == [True, True]
    assert seen[0][0] is seen[1][0] and seen[0][0].shape[1] == 128


def test_unknown_context_or_upsampling_is_refused():
    with pytest.raises(ValueError, match=r"context 'pyramid'.*known.*ushape.*none"):
        GCCPM(context="pyramid")
    with pytest.raises(ValueError, match=r"upsampling 'cubic'.*bilinear.*nearest"):
        GCCPM(upsampling="cubic")
