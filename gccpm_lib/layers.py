"""Layers that the network and its context blocks are made of."""

from torch import Tensor, nn
from torch.nn.functional import interpolate


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
