"""Training on several devices: one process each, started by torchrun, as if it were one.

    torchrun --nproc-per-node=4 -m gccpm_lib.training run.json

Each process computes its share of every batch and DistributedDataParallel adds up the gradients, so `batch_size` stays
the size of the joint batch and the gradient is that of one process. Batch normalisation is over each process's share, or
with `sync_norm` over the joint batch (norms.py); the running statistics kept are the first process's. All validate, each
its share; only the first one scores, writes and speaks. What processes ask each other goes by the CPU (gloo), so that no
GPU is waited for. Without torchrun nothing here does anything.
"""

import contextlib
import functools
import operator
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from gccpm_lib.devices import automatic, choose

LONGEST_WAIT = timedelta(hours=1)  # of the others, while the first process starts or scores


def rank() -> int:
    """This process's number, 0 for the first."""
    return dist.get_rank() if dist.is_initialized() else 0


def num_processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


@contextlib.contextmanager
def joined(device: str) -> Iterator[str]:
    """Join the processes that torchrun started, if it did; yields this process's own device. ValueError for mps."""
    if not dist.is_torchelastic_launched():
        yield choose(device)
        return
    kind = torch.device(automatic() if device == "auto" else device).type
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"device {device!r}: several processes train on cpu or cuda; start this one without torchrun")
    if kind == "cpu":
        dist.init_process_group("gloo", timeout=LONGEST_WAIT)
        yield kind
    else:
        own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(own)
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=LONGEST_WAIT, device_id=own)
        yield str(own)
    dist.destroy_process_group()  # not after an error: it would wait for processes that wait for this one


@contextlib.contextmanager
def first_before_others() -> Iterator[None]:
    """The first process does this alone, then the others."""
    if rank() > 0:
        dist.barrier()
    yield
    if rank() == 0 and num_processes() > 1:
        dist.barrier()


def parallel(network: nn.Module) -> nn.Module:
    """What to call in place of the network so that backward leaves the processes' mean gradient."""
    return DistributedDataParallel(network, broadcast_buffers=False) if num_processes() > 1 else network


def gradients_added_up(model: nn.Module, now: bool) -> contextlib.AbstractContextManager:
    """Inside, backward adds up the processes' gradients, or, but for the last part of a step, only this one's."""
    return contextlib.nullcontext() if now or num_processes() == 1 else model.no_sync()


def share(batch: Sequence) -> Sequence:
    """This process's part of a joint batch; empty where there are fewer samples than processes before it."""
    return batch[rank() :: num_processes()]


def summed(values: Tensor) -> Tensor:
    """The sum over all processes."""
    if num_processes() > 1:
        dist.all_reduce(values)
    return values


def total(count: int) -> int:
    """The sum over all processes of a number that each one has."""
    return int(summed(torch.tensor(count))) if num_processes() > 1 else count


def agreed(number: int) -> int:
    """The largest such number of all processes, so that all do the same after the same step."""
    if num_processes() == 1:
        return number
    largest = torch.tensor(number)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


def take_first_buffers(network: nn.Module) -> None:
    """Give the network of every process the first one's running statistics."""
    for buffer in network.buffers() if num_processes() > 1 else ():
        dist.broadcast(buffer, 0)


def interleaved(own: np.ndarray) -> np.ndarray:
    """The rows of what `share` dealt out, from all processes, in their order."""
    if num_processes() == 1:
        return own
    found = [own] * num_processes()
    dist.all_gather_object(found, own)
    rows = np.empty((sum(map(len, found)), *own.shape[1:]), own.dtype)
    for number, part in enumerate(found):
        rows[number :: num_processes()] = part
    return rows


def united(own: dict) -> dict:
    """The entries of all processes' dicts, the first process's first."""
    found = [own] * num_processes()
    if num_processes() > 1:
        dist.all_gather_object(found, own)
    return functools.reduce(operator.or_, found)


def from_first(value: object) -> object:
    """The first process's value, in all."""
    values = [value]
    if num_processes() > 1:
        dist.broadcast_object_list(values)
    return values[0]


def check_agreement(position: object, folder: Path) -> None:
    """ValueError in every process that starts from elsewhere than the first: they would wait for each other for hours."""
    first = from_first(position)
    if position != first:
        raise ValueError(
            f"{folder}: process {rank()} stands at epoch and batch {position}, the first process at {first}; "
            "output_folder must be one folder that all machines see"
        )


def launch(run_file: Path, processes: int, say: Callable[[str], None] = print) -> None:
    """Start torchrun on this machine for a run.json, passing its lines on; RuntimeError with the last ones if it fails.

    An interrupt or SIGTERM reaches the processes, which save; it is raised here when they have ended.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "TQDM_DISABLE": "1", "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // processes))}
    with subprocess.Popen(
        [*command, "-m", "gccpm_lib.training", str(run_file)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    ) as started:  # fmt: skip
        lines = []
        try:
            for line in started.stdout:
                lines.append(line.rstrip())
                say(lines[-1])
        except (KeyboardInterrupt, SystemExit) as stop:
            number = signal.SIGINT if isinstance(stop, KeyboardInterrupt) else signal.SIGTERM
            started.send_signal(number)  # torchrun passes it on, once
            for line in started.stdout:
                say(line.rstrip())
            raise
    if started.returncode:
        raise RuntimeError(f"{run_file}: training on {processes} processes failed: {' / '.join(lines[-4:])}")
