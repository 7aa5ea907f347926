"""Devices: which one computes, in what precision, and how far it repeats itself."""

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path

import torch


def choose(device: str = "auto") -> str:
    """A device of this machine; "auto": cuda where there is one, else mps, else cpu. ValueError where it isn't there."""
    if device == "auto":
        return automatic()
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # no such device, no driver, or PyTorch was built without it
        raise ValueError(f"device {device!r}: this machine has none ({str(error).splitlines()[0]}); give 'auto'") from error
    return device


def automatic() -> str:
    """What "auto" stands for on this machine."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def autocast(precision: str, device: str) -> contextlib.AbstractContextManager:
    """The precision, such as "bfloat16"; for float32, and where bfloat16 would only be emulated, it does nothing."""
    kind, dtype = torch.device(device).type, getattr(torch, precision)
    wanted = dtype == torch.float16 or (dtype == torch.bfloat16 and computes_in_bf16(device))
    return torch.autocast(kind, dtype) if wanted else contextlib.nullcontext()


@functools.cache
def computes_in_bf16(device: str) -> bool:
    """CUDA from Ampere on, and CPUs with AVX-512 BF16 or AMX; others emulate it, many times slower than float32."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    file = Path("/proc/cpuinfo")
    flags = file.read_text(encoding="utf-8") if file.exists() else ""
    return kind == "cpu" and any(flag in flags for flag in ("avx512_bf16", "amx_bf16"))


@contextlib.contextmanager
def training_settings(device: str, deterministic: bool) -> Iterator[None]:
    """How CUDA computes while a training lasts; PyTorch's settings are put back behind it.

    By default cuDNN looks for the fastest algorithm of every new shape, and float32 convolutions run as TF32 (10 bits of
    mantissa) on cards from Ampere on, as PyTorch has it too. deterministic: algorithms that give the same bits each time,
    on any device; those are slower. The CPU gives the same bits either way.
    """
    cudnn, exact = torch.backends.cudnn, torch.are_deterministic_algorithms_enabled()
    before = cudnn.benchmark, cudnn.conv.fp32_precision
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
        torch.use_deterministic_algorithms(True)
    cudnn.benchmark, cudnn.conv.fp32_precision = torch.device(device).type == "cuda" and not deterministic, "tf32"
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.conv.fp32_precision = before
        torch.use_deterministic_algorithms(exact)
