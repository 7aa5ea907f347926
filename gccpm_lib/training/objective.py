"""What training minimises and how fast: optimiser groups, losses, learning rate. Plain functions of a recipe's values."""

import math

from torch import Tensor, nn

from gccpm_lib.recipes import Recipe

BEFORE_REFINEMENT = ("model", "cpm", "initial_stage")  # modules of the network


def frozen_modules(recipe: Recipe) -> tuple[str, ...]:
    """Names of the network's modules that aren't trained."""
    return BEFORE_REFINEMENT if recipe.refinement_only else tuple(f"model.{layer}" for layer in range(recipe.frozen_layers))


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict]:
    """Optimiser groups with absolute `lr` and `weight_decay`; each trained parameter is in exactly one.

    Convolution weights of the refinement stages learn at refinement_lr_factor times the base rate; biases at
    bias_lr_factor times their layer's rate. Decay falls on non-depthwise convolution weights only. Frozen layers have no
    group.
    """
    frozen = tuple(f"{name}." for name in frozen_modules(recipe))
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for module_name, module in network.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            convolution = isinstance(module, nn.Conv2d)
            if f"{module_name}.".startswith(frozen):
                continue
            if not convolution and module_name.startswith("cpm.") and not recipe.train_cpm_norm:
                continue
            refines = convolution and module_name.startswith("refinement_stages.")
            factor = recipe.refinement_lr_factor if refines else 1.0
            factor *= recipe.bias_lr_factor if name == "bias" else 1.0
            decays = convolution and name == "weight" and module.groups == 1
            groups.setdefault((factor, recipe.weight_decay if decays else 0.0), []).append(parameter)
    return [dict(params=p, lr=f * recipe.base_lr, weight_decay=decay) for (f, decay), p in groups.items()]


def stage_losses(outputs: list[Tensor], targets: Tensor, weights: Tensor | None, recipe: Recipe) -> list[Tensor]:
    """Loss of every stage, each 0-dim; their sum is what is minimised.

    outputs: one (N, H, h, w) per stage; targets (N, H, h, w); weights (N, K) or (N, H), 0 where a joint is missing (maps
    behind the last weight, such as the background, count in full), or None. A recipe that doesn't mask missing joints
    leaves the weights out. "sum": sum of squares / 2 / N (LIP). "mean": half the mean square (COCO).
    """
    differences = [output - targets for output in outputs]
    if weights is not None and recipe.mask_missing:
        full = targets.new_ones(targets.shape[:2])
        full[:, : weights.shape[1]] = weights
        differences = [difference * full[:, :, None, None] for difference in differences]
    if recipe.loss == "mean":
        return [difference.square().mean() / 2 for difference in differences]
    return [difference.square().sum() / 2 / len(targets) for difference in differences]


def learning_rate_factor(recipe: Recipe, epochs_done: float, errors: list[float]) -> float:
    """What the groups' rates are multiplied by: a function of the position alone, so that resuming needs no state.

    epochs_done: whole and begun epochs so far, such as 2.5. errors: the validation error after each whole epoch
    (100 - PCKh), which "plateau" goes by.
    """
    if recipe.schedule == "cosine":
        progress = epochs_done / recipe.num_epochs
        if progress < recipe.warmup:
            return progress / recipe.warmup
        return 0.5 * (1 + math.cos(math.pi * (progress - recipe.warmup) / (1 - recipe.warmup)))
    if recipe.schedule == "steps":
        return 0.1 ** sum(epochs_done >= step for step in recipe.steps)
    return plateau_factor(errors)


def plateau_factor(errors: list[float], patience: int = 5, threshold: float = 1e-2) -> float:
    """`torch.optim.lr_scheduler.ReduceLROnPlateau(factor=0.1)` as a function of all errors so far."""
    factor, best, bad = 1.0, math.inf, 0
    for error in errors:
        if error < best * (1 - threshold):
            best, bad = error, 0
        else:
            bad += 1
        if bad > patience:
            factor, bad = factor * 0.1, 0
    return factor
