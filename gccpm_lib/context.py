"""Context blocks: what stands in front of each refinement stage, (N, c, h, w) -> (N, c, h, w).

"ushape" is the published block. The paper compares it with pyramid pooling and atrous pooling; "none" has no block, and
"matched" spends the same computing on plain refinement blocks. Multiply-accumulates per cell, in units of c^2, from the
layers below: ushape 117, ppm 110, aspp 116, matched 114, none 0; `network.count_macs` counts them.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from gccpm_lib.layers import RefinementBlock, conv, conv1x1, resize_like

PYRAMID_BINS = (1, 2, 3, 6)  # cells per side that the map is averaged to (Zhao et al., CVPR 2017)
ATROUS_RATES = (3, 6, 9)  # dilations in cells (Chen et al., 2017, whose rates are for maps twice as wide)
MATCHED_BLOCKS = 6


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


def make_context(context: str, c: int, upsampling: str) -> nn.Module:
    """The block of that name for c channels; upsampling resizes inside it. ValueError for an unknown name."""
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
