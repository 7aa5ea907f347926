"""The network of "Global Context for Convolutional Pose Machines" (Osokin, arXiv 1906.04104).

A MobileNet v1 backbone (stride 8) feeds an initial stage of heatmaps; every refinement stage looks at the backbone
features and the heatmaps before it, first through a context block (context.py) that sees the whole person, then through
three residual blocks. Module names are the keys of the published checkpoints.

    network = GCCPM()
    heatmaps = network(torch.zeros(1, 3, 256, 256))  # [initial (1, 17, 32, 32), refined (1, 17, 32, 32)]
"""

import torch
from torch import Tensor, nn

from gccpm_lib.context import make_context
from gccpm_lib.layers import RefinementBlock, conv, conv1x1, conv_dw

STRIDE = 8  # input pixels per heatmap cell

# (in, out, stride, dilation) of the depthwise separable layers: MobileNet v1 up to conv5_5.
BACKBONE_LAYERS = (
    (32, 64, 1, 1), (64, 128, 2, 1), (128, 128, 1, 1), (128, 256, 2, 1), (256, 256, 1, 1), (256, 512, 1, 1),
    (512, 512, 1, 2), (512, 512, 1, 1), (512, 512, 1, 1), (512, 512, 1, 1), (512, 512, 1, 1),
)  # fmt: skip


class InitialStage(nn.Module):
    """First guess of the heatmaps from the backbone features alone."""

    def __init__(self, num_channels: int, num_heatmaps: int):
        super().__init__()
        self.trunk = nn.Sequential(*[conv(num_channels, num_channels) for _ in range(3)])
        self.heatmaps = nn.Sequential(conv1x1(num_channels, 512), conv1x1(512, num_heatmaps, relu=False))

    def forward(self, features: Tensor) -> Tensor:
        return self.heatmaps(self.trunk(features))


class RefinementStage(nn.Module):
    """Better heatmaps from the features and the heatmaps of the stage before."""

    def __init__(self, num_channels: int, num_heatmaps: int, context: str, upsampling: str):
        super().__init__()
        c = num_channels + num_heatmaps
        self.trunk = nn.Sequential(
            make_context(context, c, upsampling),
            RefinementBlock(c, num_channels),
            RefinementBlock(num_channels, num_channels),
            RefinementBlock(num_channels, num_channels),
        )
        self.heatmaps = nn.Sequential(conv1x1(num_channels, 128), conv1x1(128, num_heatmaps, relu=False))

    def forward(self, features: Tensor, heatmaps: Tensor) -> Tensor:
        return self.heatmaps(self.trunk(torch.cat([features, heatmaps], 1)))


class GCCPM(nn.Module):
    """Global context for convolutional pose machines.

    num_heatmaps: joints, plus one for the background with LIP (17 for LIP and COCO alike).
    num_refinement_stages: 0 or more stages behind the initial one; the paper's 2-stage network has 1.
    num_channels: backbone features given to every stage.
    context: what stands in front of each refinement stage: "ushape" (published), "ppm", "aspp", "matched" or "none".
    upsampling: resizing inside the context block, "bilinear" (LIP) or "nearest" (COCO).
    """

    def __init__(self, num_heatmaps=17, num_refinement_stages=1, num_channels=128, context="ushape", upsampling="bilinear"):
        super().__init__()
        if upsampling not in ("bilinear", "nearest"):
            raise ValueError(f"upsampling {upsampling!r} is not known; known: 'bilinear' (LIP), 'nearest' (COCO)")
        # What it takes to build the network again; our checkpoints store it.
        self.shape = dict(
            num_heatmaps=num_heatmaps,
            num_refinement_stages=num_refinement_stages,
            num_channels=num_channels,
            context=context,
            upsampling=upsampling,
        )
        first = conv(3, 32, stride=2, bias=False)
        self.model = nn.Sequential(first, *[conv_dw(i, o, s, d) for i, o, s, d in BACKBONE_LAYERS])
        self.cpm = nn.Sequential(conv(512, 256), conv(256, num_channels))
        self.initial_stage = InitialStage(num_channels, num_heatmaps)
        self.refinement_stages = nn.ModuleList(
            [RefinementStage(num_channels, num_heatmaps, context, upsampling) for _ in range(num_refinement_stages)]
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised pictures (N, 3, H, W) -> heatmaps of every stage, each (N, num_heatmaps, H/8, W/8)."""
        features = self.cpm(self.model(images))
        outputs = [self.initial_stage(features)]
        for stage in self.refinement_stages:
            outputs.append(stage(features, outputs[-1]))
        return outputs


def count_parameters(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(p.numel() for p in network.parameters())


def count_macs(network: nn.Module, input_size: tuple[int, int]) -> int:
    """Multiply-accumulates of all convolutions for one picture of input_size (height, width)."""
    total = 0

    def add(module, inputs, output):
        nonlocal total
        total += output[0].numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(add) for m in network.modules() if isinstance(m, nn.Conv2d)]
    training = network.training
    device = next(network.parameters()).device
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, *input_size, device=device))
    network.train(training)
    for hook in hooks:
        hook.remove()
    return total
