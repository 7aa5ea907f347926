"""Freed memory stays with the process (glibc); elsewhere nothing happens."""

import subprocess
import sys

import pytest

from gccpm_lib.training import memory

COUNT = """
import resource, torch
from gccpm_lib.training.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(20_000_000).sum()  # 80 MB: some 20,000 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
before, told = faults(), keep_freed_memory()
faults()
print(before, int(told), faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone has mallopt")
def test_a_step_finds_the_memory_of_the_step_before_again():
    answer = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True).stdout
    before, told, after = map(int, answer.split())
    if not told:
        pytest.skip("another C library than glibc")
    assert after < before / 10


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory.keep_freed_memory() is False
