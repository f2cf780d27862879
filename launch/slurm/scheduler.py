"""Talks to Slurm through its own commands. Every error carries Slurm's words and says what to do."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from biodist.errors import MachineCannot
from launch.requests import held_back
from launch.slurm.job_state import SACCT_FIELDS, SQUEUE_FIELDS, JobState, read_sacct, read_squeue
from launch.slurm.partition import SINFO_FORMAT, Partition, read_partitions

_UNKNOWN_JOB = "Invalid job id"
WAITS_ALREADY = "Job is pending execution"
UNREACHED = ("Unable to contact", "Connection refused", "timed out", "Zero Bytes", "temporarily")
_AGAIN_AFTER_S = 5.0
_NODES_ANSWER_S = 20.0  # a step on every node of a job: a second, where all are there
# The user's habits would change what the commands print.
_HABITS = ("SQUEUE_", "SACCT_", "SINFO_", "SCANCEL_", "SCONTROL_")


@dataclass(frozen=True)
class Scheduler:
    """Slurm, as seen from this machine."""

    timeout_s: float = 60.0  # for one command

    def available(self) -> bool:
        """Whether Slurm's commands are here; a controller that does not answer is another matter."""
        return shutil.which("squeue") is not None

    def job(self, job_id: str) -> JobState | None:
        """How a job stands; None when Slurm has forgotten it. Raises as `jobs`."""
        return self.jobs([job_id]).get(job_id)

    def jobs(self, job_ids: Iterable[str]) -> dict[str, JobState]:
        """How jobs stand: one squeue call for all, sacct for those it does not know. Those Slurm has forgotten are
        left out.

        Raises MachineCannot when there is no Slurm here, or it does not answer.
        """
        wanted = list(dict.fromkeys(job_ids))
        if not wanted:
            return {}
        found = self._queued(wanted)
        if missing := [job_id for job_id in wanted if job_id not in found]:
            found |= self._accounted(missing)
        return {job_id: found[job_id] for job_id in wanted if job_id in found}

    def jobs_of_scripts(self, folder: Path) -> list[str]:
        """My jobs that have not ended and whose batch script lies below a folder, by number. Raises MachineCannot."""
        columns = "JobArrayID:80|,Command:4096"
        shown = self._asked("squeue", "--noheader", "--array", "--all", "--me", f"--Format={columns}")
        rows = (line.partition("|") for line in shown.splitlines())
        return [job.strip() for job, _, script in rows if Path(script.strip()).is_relative_to(folder)]

    def requeue(self, job_id: str, patience_s: float = 60.0) -> None:
        """Sends a job back to wait, from inside it as well; it starts again under the same number.

        Tries again for `patience_s` while the controller cannot be reached. A job that waits already is fine.
        Raises MachineCannot when Slurm refuses. **A job that is being cancelled comes back too**: look at its state
        first.
        """
        until = time.monotonic() + patience_s
        while True:
            with held_back({signal.SIGTERM}):
                done = self._run("scontrol", "requeue", job_id)
            words = _words(done)
            # Slurm ends what runs in a job that it sends back, this command among it: killed, it was heard.
            if done.returncode <= 0 or WAITS_ALREADY in words:
                return
            if not any(sign in words for sign in UNREACHED) or time.monotonic() > until:
                raise MachineCannot(f"Slurm does not requeue job {job_id}: {words}")
            time.sleep(_AGAIN_AFTER_S)

    def cancel(self, job_id: str) -> None:
        """Ends a job: SIGTERM to its processes at once, SIGKILL after the cluster's KillWait. One that has ended, or
        that Slurm does not know, is fine. Raises MachineCannot when Slurm refuses."""
        self._cancel(job_id)

    def signal(self, job_id: str, number: signal.Signals) -> None:
        """Sends a signal to every task of a running job; fine when it has ended. Raises MachineCannot."""
        self._cancel(job_id, f"--signal={number.name.removeprefix('SIG')}")

    def partition(self, name: str | None = None) -> Partition | None:
        """One partition, or the default one; None when there is no such. Raises MachineCannot."""
        every = self.partitions()
        return next((found for found in every if (found.is_default if name is None else found.name == name)), None)

    def partitions(self) -> list[Partition]:
        """Every partition, hidden ones too. Raises MachineCannot."""
        shown = self._asked("scontrol", "--all", "--oneliner", "show", "partition")
        nodes = self._asked("sinfo", "--all", "--noheader", f"--format={SINFO_FORMAT}")
        return read_partitions(shown, nodes)

    def node_patience_s(self) -> float:
        """How long Slurm waits for a node that does not answer before it is down (SlurmdTimeout). Raises
        MachineCannot."""
        config = self._asked("scontrol", "show", "config")
        found = re.search(r"^SlurmdTimeout\s*=\s*(\d+)", config, re.MULTILINE)
        return float(found[1]) if found else 300.0

    def nodes_answer(self, job_id: str, nodes: int) -> bool:
        """Whether every node of a running job is there: a step was run on each. False is no proof that one is lost."""
        step = (f"--jobid={job_id}", "--overlap", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1")
        try:
            done = _step(("srun", *step, "--immediate=10", "--input=none", "--gres=none", "true"), _NODES_ANSWER_S)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0

    def _queued(self, job_ids: list[str]) -> dict[str, JobState]:
        # All states: Slurm keeps a job that has ended for MinJobAge. All elements of an array, each on its own line.
        done = self._run(
            *("squeue", "--noheader", "--array", "--all", "--states=all"),
            *(f"--jobs={','.join(job_ids)}", f"--Format={','.join(SQUEUE_FIELDS)}"),
        )
        if done.returncode != 0 and _UNKNOWN_JOB not in _words(done):
            raise MachineCannot(f"Slurm does not say how job {', '.join(job_ids)} stands: {_words(done)}")
        return {state.job_id: state for state in read_squeue(done.stdout)}

    def _accounted(self, job_ids: list[str]) -> dict[str, JobState]:
        """Without accounting, or while its server is away, there is nothing to learn here: that is no error."""
        if shutil.which("sacct") is None:
            return {}
        done = self._run(
            *("sacct", "--allocations", "--noheader", "--parsable2", "--array"),
            *(f"--jobs={','.join(job_ids)}", f"--format={','.join(SACCT_FIELDS)}"),
        )
        return {state.job_id: state for state in read_sacct(done.stdout)} if done.returncode == 0 else {}

    def _cancel(self, job_id: str, *options: str) -> None:
        done = self._run("scancel", *options, job_id)
        words = _words(done)
        if done.returncode != 0 and _UNKNOWN_JOB not in words and "already complet" not in words:
            raise MachineCannot(f"Slurm does not cancel job {job_id}: {words}")

    def _asked(self, *command: str) -> str:
        done = self._run(*command)
        if done.returncode != 0:
            raise MachineCannot(f"Slurm does not answer `{' '.join(command)}`: {_words(done)}")
        return done.stdout

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                command,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.timeout_s,
            )
        except FileNotFoundError:
            raise MachineCannot(
                f"no Slurm here ({command[0]} is not on PATH): use a login node of the cluster, "
                "or load its module (module load slurm)"
            ) from None
        except subprocess.TimeoutExpired:
            raise MachineCannot(
                f"Slurm has not answered `{command[0]}` for {self.timeout_s:.0f} s: try again; "
                "`scontrol ping` says whether its controller is up"
            ) from None


def _step(command: tuple[str, ...], timeout_s: float) -> subprocess.CompletedProcess[bytes]:
    """Runs srun without the variables of the step that asks, which would be options of the new one."""
    kept = {name: value for name, value in _environment().items() if not name.startswith(("SLURM_", "SRUN_"))}
    kept |= {name: value for name, value in os.environ.items() if name == "SLURM_CONF"}
    return subprocess.run(command, env=kept, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_HABITS)}
    return kept | {"LC_ALL": "C", "SLURM_TIME_FORMAT": "standard"}


def _words(done: subprocess.CompletedProcess[str]) -> str:
    """What the command said of its failure, on one line."""
    lines = (line.strip() for line in (done.stderr or done.stdout).splitlines())
    return "; ".join(line for line in lines if line) or f"exit code {done.returncode}"
