"""The runner itself is killed at random moments: the next one goes on, and nothing is left behind by the dead one."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import project  # noqa: F401 - a fixture

from gccpm_lib.report import verify

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "gccpm_lib", "reproduce", "--profile", "tiny"]


def start(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(COMMAND, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)


def kernels_in(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = " ".join(process.info["cmdline"] or ())
        if "ipykernel" in command and str(process.info["cwd"] or "").startswith(str(folder)):
            found.append(process)
    return found


@pytest.mark.slow
def test_a_runner_killed_at_random_is_taken_up_where_it_was(project):  # noqa: F811
    rng = random.Random(0)
    for _ in range(5):
        runner = start(project)
        time.sleep(rng.uniform(1, 12))
        runner.kill()
        runner.wait()
        deadline = time.monotonic() + 20
        while kernels_in(project) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not kernels_in(project), "a killed runner's kernel goes on working"
    assert start(project).wait() == 0
    summary = json.loads((project / "reports/tiny/metrics.json").read_text())["notebooks"]
    assert {page["status"] for page in summary.values()} == {"done"} and len(summary) == 3
    assert all(page["metrics"] == {"seen": 1} for page in summary.values())
    assert not list(project.rglob("*.part")) and not list(project.rglob("*.part.ipynb"))
    states = {check.state for check in verify.check_files(project / "reports/tiny")}
    assert states == {verify.SAME}


@pytest.mark.slow
def test_two_runners_at_once_leave_one_whole_report(project):  # noqa: F811
    first, second = start(project), start(project)
    assert sorted((first.wait(), second.wait())) == [0, 3]  # one ran, the other was turned away
    assert len(list((project / "reports/tiny").glob("*.html"))) == 4
