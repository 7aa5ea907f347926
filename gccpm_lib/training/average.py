"""The moving average of a network's weights, which is what is kept of a training that has one."""

import copy

import torch
from torch import nn


class Average(nn.Module):
    """average = decay x average + (1 - decay) x network after every step; the first step's weights begin it.

    Running statistics are averaged too; the norms' counters of batches, whole numbers, are taken as they are.
    """

    def __init__(self, network: nn.Module, decay: float):
        super().__init__()
        self.module, self.decay = copy.deepcopy(network), decay
        self.register_buffer("n_averaged", torch.tensor(0))  # on the CPU: asking for it waits for no device

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the network as it is now."""
        pairs, begun = list(zip(_values(self.module), _values(network), strict=True)), bool(self.n_averaged > 0)
        averaged = [pair for pair in pairs if begun and pair[0].is_floating_point()]
        taken = [pair for pair in pairs if not (begun and pair[0].is_floating_point())]
        if averaged:
            torch._foreach_lerp_(*_columns(averaged), 1 - self.decay)
        if taken:
            torch._foreach_copy_(*_columns(taken))
        self.n_averaged += 1


def _values(network: nn.Module) -> list[torch.Tensor]:
    return [*network.parameters(), *network.buffers()]


def _columns(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[list[torch.Tensor], ...]:
    return tuple(map(list, zip(*pairs, strict=True)))
