"""The effective receptive field: which input pixels an output cell really listens to.

The gradient of one cell of a heatmap to the input, its absolute value averaged over pictures (Luo et al., "Understanding
the Effective Receptive Field in Deep Convolutional Neural Networks", NeurIPS 2016). The theoretical field, every pixel
that could matter, says little: most of it has next to no weight.
"""

import numpy as np
import torch
from torch import Tensor, nn


def effective_field(network: nn.Module, crops: Tensor, num_joints: int, stage: int = -1) -> np.ndarray:
    """Share of every input pixel in what moves the middle cell, (H, W), summing to 1.

    crops (N, 3, H, W), normalised; they are brought to the network's device. Every picture asks another joint's map, so
    that no joint decides alone, and counts alike. stage: 0 the initial one, -1 the last.
    """
    device = next((p.device for p in network.parameters()), crops.device)
    total = torch.zeros(crops.shape[-2:], device=device)
    for i, crop in enumerate(crops.to(device)):
        x = crop[None].detach().requires_grad_()
        maps = network(x)[stage]
        middle = maps[0, i * num_joints // len(crops) % num_joints, maps.shape[2] // 2, maps.shape[3] // 2]
        share = torch.autograd.grad(middle, x)[0][0].abs().sum(0)
        total += share / share.sum().clamp_min(torch.finfo(share.dtype).tiny)
    return (total / total.sum()).cpu().numpy()


def area_percent(field: np.ndarray, mass: float = 0.9) -> float:
    """The smallest part of the crop, in percent, that holds this share of the field."""
    shares = np.cumsum(np.sort(field.ravel())[::-1].astype(np.float64))
    return 100 * float(np.searchsorted(shares, mass * shares[-1]) + 1) / field.size
