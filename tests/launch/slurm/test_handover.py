"""What a task without Slurm leaves to the batch script. With a real Slurm: tests/cluster/test_containers.py.

Here the shell is real, and so is what notes a job; Slurm's commands are stand-ins that note how they were called.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from biodist.config.profile import Profile
from biodist.errors import EXIT_STOPPED
from biodist.plan.decide import place_on
from biodist.plan.plan import Plan, write_plan
from biodist.run.folder import JobFolder, RunFolder
from biodist.run.jobs import SlurmJob, Submission
from launch.slurm.array import array_text
from launch.slurm.comeback import Comeback
from launch.slurm.life import Life
from launch.slurm.submission import script_text

TOOLS = ("sh", "date", "rm", "awk", "grep", "env", "bash", "sed", "cat")


def life(job_id: str = "17", restart: int = 0) -> Life:
    return Life(job_id, restart, rank=0, local_rank=0, world_size=4, node="n1", nodes=("n1", "n2"))


@dataclass(frozen=True)
class Place:
    """A submission, and a folder of commands that is the whole PATH."""

    job: JobFolder
    plan: Plan
    commands: Path

    def command(self, name: str, *lines: str) -> None:
        """A stand-in that notes its arguments and the job's variables it sees."""
        path = self.commands / name
        noting = f'echo "{name} $* [${{SLURM_NTASKS-}} ${{SLURM_CONF-}}]" >> "{self.commands}/calls"'
        path.write_text("\n".join(["#!/bin/sh", noting, *lines, ""]))
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        path = self.commands / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def left(self) -> Path:
        return self.job.handover("17", 0)

    def hand_over(self) -> list[str]:
        """As the leader of a life does it; gives what it said."""
        said: list[str] = []
        assert self.plan.profile is not None
        Comeback(self.job, life(), self.plan.profile, said.append, lambda: 0).bring_back(EXIT_STOPPED)
        return said

    def carry_out(self) -> str:
        """As the batch script does it; gives what is said."""
        variables = {"PATH": str(self.commands), "SLURM_NTASKS": "4", "SLURM_CONF": "/etc/slurm.conf"}
        done = subprocess.run(["sh", str(self.left)], env=variables, capture_output=True, text=True, timeout=60)
        return done.stdout + done.stderr


@pytest.fixture
def place(tmp_path: Path, plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Place]:
    """Makes one; the profile's keys can be changed."""

    def make(**changes: object) -> Place:
        commands = tmp_path / "commands"
        commands.mkdir()
        for tool in TOOLS:
            (commands / tool).symlink_to(shutil.which(tool) or tool)
        profile = Profile.model_validate({"name": "p", "memory_gb": 4, "time_limit_min": 60, **changes})
        made = plan(1).model_copy(update={"profile": profile, "machine": place_on(profile, 2)})
        job = RunFolder.prepare(tmp_path / "my run").new_job()
        write_plan(made, job.plan)
        jobs = (SlurmJob(job_id="17", submitted=1.0),)
        Submission(profile="p", nodes=2, world_size=2, command=("biodist",), jobs=jobs).save(job.submission)
        monkeypatch.setenv("PATH", str(commands))
        return Place(job, made, commands)

    return make


def test_where_slurm_is_at_hand_nothing_is_left(place: Callable[..., Place]) -> None:
    here = place()
    for name in ("squeue", "scontrol", "sbatch", "srun"):
        here.command(name)
    assert "requeued" in here.hand_over()[-1]
    assert not here.left.exists() and [call for call in here.calls if "requeue" in call] == [
        "scontrol requeue 17 [ ]"
    ], "once, by the task"


def test_a_task_without_slurm_says_so_and_the_batch_script_requeues(place: Callable[..., Place]) -> None:
    here = place()
    [said] = here.hand_over()
    assert said.startswith("no Slurm here (n1): left to the batch script")
    for name in ("scontrol", "sbatch"):
        here.command(name)
    assert "requeued by the batch script: job 17 goes on where it stopped" in here.carry_out()
    assert here.calls == ["scontrol requeue 17 [4 /etc/slurm.conf]"], "and no job takes its place"
    assert not here.left.exists()


def following(here: Place) -> list[str]:
    """What must have been called for a job that takes the place of this one."""
    return [f"sbatch --parsable {here.job.following_script('17', 0)} [ /etc/slurm.conf]"]


@pytest.mark.parametrize("requeue", [True, False])
def test_where_it_is_refused_or_forbidden_another_job_takes_its_place(
    place: Callable[..., Place], requeue: bool
) -> None:
    here = place(requeue=requeue)
    here.hand_over()
    here.command("scontrol", 'echo "Requested operation is presently disabled" >&2', "exit 1")
    here.command("sbatch", "echo '18;cluster'")
    assert "job 18 takes its place and begins once job 17 has ended" in here.carry_out()
    assert here.calls[-1:] == following(here) and len(here.calls) == 1 + requeue
    newest = Submission.load(here.job.submission).current
    assert newest is not None and (newest.job_id, newest.after) == ("18", "17")
    assert (here.job.root / "18_submitted.pkl").exists(), "what its tasks run"
    assert "#SBATCH --dependency=afterany:17" in here.job.following_script("17", 0).read_text()
    assert not here.left.exists()


@pytest.mark.parametrize("words", ["Unable to contact slurm controller", "Socket timed out on send/recv operation"])
def test_one_that_may_have_been_requeued_gets_no_successor(place: Callable[..., Place], words: str) -> None:
    here = place()
    here.hand_over()
    here.command("scontrol", f'echo "{words}" >&2', "exit 1")
    here.command("sbatch", "echo 18")
    said = here.carry_out()
    assert f"job 17 must be submitted again: biodist resume '{here.job.run.root}' --on " in said
    assert len(here.calls) == 1 and here.left.exists()


def test_one_that_slurm_has_requeued_already_is_left_alone(place: Callable[..., Place]) -> None:
    here = place()
    here.hand_over()
    here.command("scontrol", 'echo "Job is pending execution" >&2', "exit 1")
    here.command("sbatch", "echo 18")
    here.carry_out()
    assert len(here.calls) == 1 and not here.left.exists()


def test_without_slurm_there_as_well_the_file_stays(place: Callable[..., Place]) -> None:
    here = place()
    here.hand_over()
    assert "job 17 must be submitted again: biodist resume" in here.carry_out()
    assert here.left.exists() and here.job.handovers() == [here.left]


def test_a_cancelled_one_is_not_brought_back(place: Callable[..., Place]) -> None:
    here = place()
    here.hand_over()
    for name in ("scontrol", "sbatch"):
        here.command(name)
    here.job.cancelled.write_text("{}")
    assert "cancelled by `biodist cancel`" in here.carry_out()
    assert here.calls == []


def test_a_successor_that_cannot_be_noted_is_cancelled(place: Callable[..., Place]) -> None:
    here = place(requeue=False)
    here.hand_over()
    here.command("sbatch", "echo 18")
    here.command("scancel")
    here.job.submission.write_text("{}")
    assert "must be submitted again" in here.carry_out()
    assert here.calls[1].startswith("scancel 18 ") and here.left.exists()


@pytest.mark.parametrize(("array", "restart"), [(False, 0), (False, 3), (True, 0), (True, 2)])
def test_the_batch_script_finds_it_by_its_life(place: Callable[..., Place], array: bool, restart: int) -> None:
    """bash runs the script itself, with srun in place of a job that ends with 75; python is left out."""
    here = place(python="/bin/true")
    text = script_text(here.plan, here.job.root)
    variables = {"PATH": str(here.commands), "SLURM_JOB_ID": "17"}
    if array:
        listing = here.job.root / "array"
        listing.write_text(f"{here.job.root}\n")
        text = array_text(here.plan, [here.job.root], "three", listing)
        variables |= {"SLURM_ARRAY_JOB_ID": "16", "SLURM_ARRAY_TASK_ID": "0"}
    if restart:
        variables["SLURM_RESTART_COUNT"] = str(restart)
    name = "16_0" if array else "17"
    mark = here.commands / "acted"
    for number in range(5):  # other lives' must not be touched
        left = here.job.handover(name, number)
        left.parent.mkdir(exist_ok=True)
        left.write_text(f'echo {number} >> "{mark}"\n')
    for code in (0, 75):
        done = subprocess.run(
            ["bash", "-c", f"srun() {{ return {code}; }}\n{text}"], env=variables, capture_output=True, timeout=30
        )
        assert done.returncode == code, done.stderr
    assert mark.read_text() == f"{restart}\n", "once: after 75, by this life alone"


def test_the_shell_reads_every_name_as_one_word(place: Callable[..., Place]) -> None:
    here = place()
    here.hand_over()
    text = here.left.read_text()
    assert f"'{here.job.root}'" in text
    subprocess.run([os.fspath(here.commands / "bash"), "-n", str(here.left)], check=True, timeout=30)
