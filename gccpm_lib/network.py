"""The network of "Global Context for Convolutional Pose Machines" (Osokin, arXiv 1906.04104).

A MobileNet v1 backbone (stride 8) feeds an initial stage of heatmaps; every refinement stage looks at the backbone
features and the heatmaps before it, first through a context block that sees the whole person, then through
three residual blocks. Module names are the keys of the published checkpoints.

    network = GCCPM()
    heatmaps = network(torch.zeros(1, 3, 256, 256))  # [initial (1, 17, 32, 32), refined (1, 17, 32, 32)]
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from gccpm_lib.provenance import told_function

# (in, out, stride, dilation) of the depthwise separable layers: MobileNet v1 up to conv5_5.
BACKBONE_LAYERS = (
    (32, 64, 1, 1), (64, 128, 2, 1), (128, 128, 1, 1), (128, 256, 2, 1), (256, 256, 1, 1), (256, 512, 1, 1),
    (512, 512, 1, 2), (512, 512, 1, 1), (512, 512, 1, 1), (512, 512, 1, 1), (512, 512, 1, 1),
)  # fmt: skip
PYRAMID_BINS = (1, 2, 3, 6)  # cells per side that the map is averaged to (Zhao et al., CVPR 2017)
ATROUS_RATES = (3, 6, 9)  # dilations in cells (Chen et al., 2017, whose rates are for maps twice as wide)
MATCHED_BLOCKS = 6


# -------------------------------------------------------------------------------------------------------------- layers


def conv(i: int, o: int, kernel=3, stride=1, padding=1, dilation=1, bn=True, relu=True, bias=True) -> nn.Sequential:
    """Convolution, then batch normalisation and ReLU where asked for."""
    layers = [nn.Conv2d(i, o, kernel, stride, padding, dilation, bias=bias)]
    if bn:
        layers.append(nn.BatchNorm2d(o))
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def conv1x1(i: int, o: int, relu=True) -> nn.Sequential:
    """Pointwise convolution without batch normalisation."""
    return conv(i, o, kernel=1, padding=0, bn=False, relu=relu)


def conv_dw(i: int, o: int, stride=1, dilation=1) -> nn.Sequential:
    """Depthwise separable convolution of MobileNet: 3x3 per channel, then 1x1 across channels."""
    return nn.Sequential(
        nn.Conv2d(i, i, 3, stride, padding=dilation, dilation=dilation, groups=i, bias=False),
        nn.BatchNorm2d(i),
        nn.ReLU(inplace=True),
        nn.Conv2d(i, o, 1, bias=False),
        nn.BatchNorm2d(o),
        nn.ReLU(inplace=True),
    )


def resize_like(x: Tensor, reference: Tensor, mode: str) -> Tensor:
    """Resize maps to the height and width of the reference; mode "bilinear" (corners not aligned) or "nearest"."""
    return interpolate(x, size=reference.shape[-2:], mode=mode)


class RefinementBlock(nn.Module):
    """Residual block, (N, i, h, w) -> (N, o, h, w); its second convolution is dilated."""

    def __init__(self, i: int, o: int):
        super().__init__()
        self.initial = conv1x1(i, o)
        self.trunk = nn.Sequential(conv(o, o), conv(o, o, dilation=2, padding=2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.initial(x)
        return x + self.trunk(x)


# ------------------------------------------------------------------------------------------------------ context blocks
# What stands in front of each refinement stage, (N, c, h, w) -> (N, c, h, w). "ushape" is the published block. The paper
# compares it with pyramid pooling and atrous pooling; "none" has no block, and "matched" spends the same computing on plain
# refinement blocks. Multiply-accumulates per cell in units of c^2: ushape 117, ppm 110, aspp 116, matched 114, none 0;
# `count_macs` counts them.


class UShapedContext(nn.Module):
    """Encoder-decoder over the whole crop: down to a quarter of h and w and back."""

    def __init__(self, c: int, upsampling: str):
        super().__init__()
        self.upsampling = upsampling
        self.encoder1 = nn.Sequential(conv(c, 2 * c, stride=2), conv(2 * c, 2 * c))
        self.encoder2 = nn.Sequential(conv(2 * c, 2 * c, stride=2), conv(2 * c, 2 * c))
        self.decoder2 = nn.Sequential(conv(4 * c, 2 * c), conv(2 * c, 2 * c))
        self.decoder1 = nn.Sequential(conv(3 * c, 2 * c), conv(2 * c, c))

    def forward(self, x: Tensor) -> Tensor:
        e1 = self.encoder1(x)  # (N, 2c, h/2, w/2)
        e2 = self.encoder2(e1)  # (N, 2c, h/4, w/4)
        d2 = self.decoder2(torch.cat([e1, resize_like(e2, e1, self.upsampling)], 1))  # (N, 2c, h/2, w/2)
        return self.decoder1(torch.cat([x, resize_like(d2, x, self.upsampling)], 1))  # (N, c, h, w)


class PyramidPooling(nn.Module):
    """Averages over the whole map and over its parts, laid beside it (Zhao et al., "Pyramid Scene Parsing Network").

    The pooled branches have no batch normalisation: a map of one cell has too few values for it.
    """

    def __init__(self, c: int, upsampling: str):
        super().__init__()
        self.upsampling, width = upsampling, c // len(PYRAMID_BINS)
        self.branches = nn.ModuleList([conv1x1(c, width) for _ in PYRAMID_BINS])
        wide = c + len(PYRAMID_BINS) * width
        self.fuse = nn.Sequential(conv(wide, 3 * c), conv(3 * c, 2 * c), conv1x1(2 * c, c))

    def forward(self, x: Tensor) -> Tensor:
        pooled = [branch(adaptive_avg_pool2d(x, b)) for b, branch in zip(PYRAMID_BINS, self.branches, strict=True)]
        return self.fuse(torch.cat([x, *[resize_like(p, x, self.upsampling) for p in pooled]], 1))


class AtrousPooling(nn.Module):
    """Convolutions of several dilations side by side, and the mean of the map (Chen et al., "Rethinking Atrous
    Convolution for Semantic Image Segmentation")."""

    def __init__(self, c: int, upsampling: str):
        super().__init__()
        width = 7 * c // 2
        self.point = conv(c, width, kernel=1, padding=0)
        self.branches = nn.ModuleList([conv(c, width, padding=rate, dilation=rate) for rate in ATROUS_RATES])
        self.mean = conv1x1(c, width)
        self.fuse = conv1x1((2 + len(ATROUS_RATES)) * width, c)

    def forward(self, x: Tensor) -> Tensor:
        mean = resize_like(self.mean(adaptive_avg_pool2d(x, 1)), x, "nearest")
        return self.fuse(torch.cat([self.point(x), *[branch(x) for branch in self.branches], mean], 1))


Context = str | Callable[[int, str], nn.Module]  # a block's name, or one's own: a function (channels, upsampling)


def make_context(context: Context, c: int, upsampling: str) -> nn.Module:
    """The block of that name, or one's own, for c channels; upsampling resizes inside it. ValueError for other names."""
    if callable(context):
        return context(c, upsampling)
    makers = {
        "ushape": lambda: UShapedContext(c, upsampling),
        "ppm": lambda: PyramidPooling(c, upsampling),
        "aspp": lambda: AtrousPooling(c, upsampling),
        "matched": lambda: nn.Sequential(*[RefinementBlock(c, c) for _ in range(MATCHED_BLOCKS)]),
        "none": nn.Identity,
    }
    if context not in makers:
        raise ValueError(f"context {context!r} is not known; known: {', '.join(map(repr, makers))}")
    return makers[context]()


def context_name(context: Context) -> str:
    """The block's name; of one's own that of its function or class."""
    return context if isinstance(context, str) else context.__name__


def told_context(context: Context) -> str | dict[str, str]:
    """What a file says of a block: its name, and of one's own its source text too, see `told_function`."""
    return context if isinstance(context, str) else told_function(context)


# --------------------------------------------------------------------------------------------------------- the network


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

    def __init__(self, num_channels: int, num_heatmaps: int, context: Context, upsampling: str):
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
    context: what stands in front of each refinement stage: "ushape" (published), "ppm", "aspp", "matched" or "none", or
    a function or class of one's own (channels, upsampling) -> module, (N, c, h, w) -> (N, c, h, w).
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
        return self.refine(features, self.initial_stage(features))

    def refine(self, features: Tensor, heatmaps: Tensor) -> list[Tensor]:
        """Backbone features (N, num_channels, h, w) and the initial stage's heatmaps -> heatmaps of every stage."""
        outputs = [heatmaps]
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
