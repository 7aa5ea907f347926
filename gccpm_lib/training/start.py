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
    if run.from_mobilenet and not run.weights_only:
        raise ValueError("weights_only=False takes over a training; give from_mobilenet=False with it")
    own = saved = own_checkpoint(run, data, say)  # this run, broken off
    if saved is None and run.checkpoint_path and not run.weights_only:  # another training
        saved = checkpoints.read_checkpoint(run.checkpoint_path)
    network = new_network(run, recipe) if saved else start_network(run, recipe, say)
    state = ready(network, run, recipe)
    state.data, state.start = data, own.get("start", "") if own else start_hash(run)
    if saved is not None:
        resume(state, saved)
    return state


def new_network(run: Run, recipe: Recipe) -> GCCPM:
    """The network as it is initialised from the run's seed."""
    torch.manual_seed(run.seed)
    return GCCPM(recipe.num_heatmaps, recipe.num_refinement_stages, context=recipe.context, upsampling=recipe.upsampling)


def start_network(run: Run, recipe: Recipe, say=print) -> GCCPM:
    """The network that a new training begins with: checkpoint_path's weights, a MobileNet's or none in it."""
    network = new_network(run, recipe)
    if run.from_mobilenet:  # "" is the one that ships
        checkpoints.load_backbone(network, run.checkpoint_path or None, recipe)
    elif run.checkpoint_path:  # a whole network's weights
        transfer.start_from(network, run.checkpoint_path, recipe, say, run.fresh_refinement)
    return network


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
