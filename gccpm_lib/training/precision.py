"""Precision: what a device computes in, and the scaler that float16 needs."""

import contextlib
import functools
from pathlib import Path

import torch

from gccpm_lib.recipes import Recipe


def autocast(recipe: Recipe, device: str) -> contextlib.AbstractContextManager:
    """The recipe's precision; where the device would only emulate bfloat16, and for float32, the context does nothing."""
    kind, dtype = torch.device(device).type, getattr(torch, recipe.precision)
    wanted = dtype == torch.float16 or (dtype == torch.bfloat16 and computes_in_bf16(device))
    return torch.autocast(kind, dtype) if wanted else contextlib.nullcontext()


@functools.cache
def computes_in_bf16(device: str) -> bool:
    """CUDA from Ampere on, and CPUs with AVX-512 BF16 or AMX; others emulate it, many times slower than float32."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    flags = Path("/proc/cpuinfo")
    return kind == "cpu" and flags.exists() and any(f in flags.read_text() for f in ("avx512_bf16", "amx_bf16"))


def make_scaler(device: str, precision: str) -> torch.amp.GradScaler:
    """Keeps float16's small gradients from vanishing; does nothing in other precisions."""
    return torch.amp.GradScaler(torch.device(device).type, enabled=precision == "float16")
