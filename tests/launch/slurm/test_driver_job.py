"""The batch script of a sweep's driver, run by bash as Slurm runs it. `scontrol` and `sbatch` are lines of shell."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from biodist.config.profile import Profile
from biodist.errors import MachineCannot
from biodist.run.folder import JobFolder
from biodist.run.sweep_folder import SweepFolder
from launch.slurm.driver_job import driver_script, submit_driver_job

pytestmark = pytest.mark.timeout(60)
NEEDED = {"memory_gb": 2, "time_limit_min": 10}
STOPPABLE = "trap 'exit 75' TERM; touch ready; while :; do sleep 0.05; done"


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return SweepFolder.prepare(tmp_path / "swept").driver.new_job()


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands that come before the machine's own."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for name in ("scontrol", "sbatch", "srun"):
        (commands / name).write_text(
            f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/said\necho "words of {name}" >&2\nexit 1\n'
        )
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    return tmp_path


def begun(folder: JobFolder, cwd: Path, program: str, **profile: object) -> subprocess.Popen[bytes]:
    script = driver_script(Profile.model_validate({**NEEDED, **profile}), folder, "d", ("sh", "-c", program))
    folder.script.write_text(script)
    return subprocess.Popen(["bash", str(folder.script)], cwd=cwd, env={**os.environ, "SLURM_JOB_ID": "7"})


def requeued(shell: Path) -> bool:
    said = shell / "said"
    return said.exists() and said.read_text() == "scontrol requeue 7\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_lets_the_driver_end_and_the_job_comes_back(folder: JobFolder, shell: Path, number: int) -> None:
    process = begun(folder, shell, STOPPABLE)
    deadline = time.monotonic() + 30
    while not (shell / "ready").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(30) == 75 and requeued(shell)


@pytest.mark.parametrize("code", [0, 3, 5])
def test_a_driver_that_is_done_does_not_come_back(folder: JobFolder, shell: Path, code: int) -> None:
    assert begun(folder, shell, f"exit {code}").wait(30) == code and not requeued(shell)


def test_a_cancelled_driver_does_not_come_back(folder: JobFolder, shell: Path) -> None:
    folder.cancelled.touch()
    assert begun(folder, shell, "exit 75").wait(30) == 75 and not requeued(shell)


def test_a_profile_without_requeue(folder: JobFolder, shell: Path) -> None:
    assert begun(folder, shell, "exit 75", requeue=False).wait(30) == 75 and not requeued(shell)
    assert "#SBATCH --no-requeue\n" in folder.script.read_text()


def test_slurms_own_words_when_it_refuses(folder: JobFolder, shell: Path) -> None:
    with pytest.raises(MachineCannot, match=r"Slurm refuses the driver's job: words of sbatch$"):
        submit_driver_job(Profile.model_validate(NEEDED), folder, "d", ("sweep", "--resume", "x"))
