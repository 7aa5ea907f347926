"""Training on several devices: one process each, started by torchrun, as if it were one.

    torchrun --nproc-per-node=4 -m gccpm_lib.training run.json

Each process computes its share of every batch and DistributedDataParallel adds up the gradients, so `batch_size` stays
the size of the joint batch and the gradient is that of one process. Batch normalisation is over the joint batch on CUDA
(SyncBatchNorm); on the CPU it is over each process's share, and the running statistics kept are the first process's.
Only the first process validates, writes and speaks. Without torchrun nothing here does anything.
"""

import contextlib
import functools
import operator
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

LONGEST_WAIT = timedelta(hours=3)  # of the others, while the first process validates


def rank() -> int:
    """This process's number, 0 for the first."""
    return dist.get_rank() if dist.is_initialized() else 0


def num_processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


@contextlib.contextmanager
def joined(device: str) -> Iterator[str]:
    """Join the processes that torchrun started, if it did; yields this process's own device. ValueError for mps."""
    if not dist.is_torchelastic_launched():
        yield device
        return
    kind = torch.device(device).type
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"device {device!r}: several processes train on cpu or cuda; start this one without torchrun")
    if kind == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=LONGEST_WAIT)
    try:
        yield device
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def first_before_others() -> Iterator[None]:
    """The first process does this alone, then the others."""
    if rank() > 0:
        dist.barrier()
    yield
    if rank() == 0 and num_processes() > 1:
        dist.barrier()


def with_joint_norms(network: nn.Module, device: str) -> nn.Module:
    """Batch normalisation over the joint batch, where several processes train on CUDA."""
    joint = num_processes() > 1 and torch.device(device).type == "cuda"
    return nn.SyncBatchNorm.convert_sync_batchnorm(network) if joint else network


def parallel(network: nn.Module) -> nn.Module:
    """What to call in place of the network so that backward leaves the processes' mean gradient."""
    return DistributedDataParallel(network) if num_processes() > 1 else network


def share(batch: list) -> list:
    """This process's part of a joint batch; empty where there are fewer samples than processes before it."""
    return batch[rank() :: num_processes()]


def summed(values: Tensor) -> Tensor:
    """The sum over all processes."""
    if num_processes() > 1:
        dist.all_reduce(values)
    return values


def anywhere(flag: bool, device: str) -> bool:
    """Whether it is so in any process, so that all stop after the same batch."""
    return bool(summed(torch.tensor(float(flag), device=device)))


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

    An interrupt reaches the processes, which save; it is raised here when they have ended.
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
        except KeyboardInterrupt:
            started.send_signal(signal.SIGINT)  # torchrun passes it on, once
            for line in started.stdout:
                say(line.rstrip())
            raise
    if started.returncode:
        raise RuntimeError(f"{run_file}: training on {processes} processes failed: {' / '.join(lines[-4:])}")
