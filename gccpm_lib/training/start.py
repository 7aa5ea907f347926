"""Where a training begins: its network, optimiser and position."""

import torch

from gccpm_lib import checkpoints
from gccpm_lib.devices import choose
from gccpm_lib.network import GCCPM
from gccpm_lib.recipes import Recipe
from gccpm_lib.training import transfer
from gccpm_lib.training.average import Average
from gccpm_lib.training.checkpointing import own_checkpoint, resume, start_hash
from gccpm_lib.training.norms import with_joint_norms
from gccpm_lib.training.objective import parameter_groups
from gccpm_lib.training.run import Run, State, make_scaler


def start(run: Run, recipe: Recipe, data: str = "", say=print) -> State:
    """Network, optimiser and position: from the run's own checkpoint, another checkpoint, MobileNet, or from nothing.

    data is the training persons' `fingerprint`. Raises ValueError where checkpoint_path doesn't hold what is asked of it.
    """
    torch.manual_seed(run.seed)
    network = GCCPM(recipe.num_heatmaps, recipe.num_refinement_stages, context=recipe.context, upsampling=recipe.upsampling)
    own, saved = own_checkpoint(run, data, say), None
    match own, run.from_mobilenet, run.weights_only, run.checkpoint_path:
        case _, True, False, _:
            raise ValueError("weights_only=False takes over a training; give from_mobilenet=False with it")
        case dict(), _, _, _:  # this run, broken off
            saved = own
        case None, True, True, path:  # a MobileNet; "" is the one that ships
            checkpoints.load_backbone(network, path or None, recipe)
        case None, False, _, "":  # nothing
            pass
        case None, False, True, path:  # a whole network's weights
            transfer.start_from(network, path, recipe, say, run.fresh_refinement)
        case None, False, False, path:  # another training
            saved = checkpoints.read_checkpoint(path)
    state = ready(network, run, recipe)
    state.data, state.start = data, own.get("start", "") if own else start_hash(run)
    if saved is not None:
        resume(state, saved)
    return state


def ready(network: GCCPM, run: Run, recipe: Recipe) -> State:
    """A network on its device with a new optimiser; what isn't trained asks for no gradient. ValueError as `choose`."""
    device = choose(run.device)
    if run.deterministic and recipe.context == "ppm" and torch.device(device).type == "cuda":
        raise ValueError("deterministic=True: cuda pools to several cells (ppm) in no fixed order; take another context")
    network = with_joint_norms(network, run, recipe, device).to(device, memory_format=torch.channels_last)
    groups = parameter_groups(network, recipe)
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in trained)
    optimizer = (torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam)(groups, fused=True)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    average = Average(network, recipe.ema_decay) if recipe.ema_decay else None
    return State(network, optimizer, average, scaler=make_scaler(device, recipe.precision))
