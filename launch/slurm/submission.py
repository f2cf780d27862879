"""From a plan to a job: the script on disk first, then submitit gives that very script to sbatch."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from submitit.core.core import Job
from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError
from submitit.helpers import clean_env
from submitit.slurm.slurm import SlurmExecutor

from biodist.config.profile import Profile
from biodist.errors import MachineCannot
from biodist.plan.plan import Plan
from biodist.run.durable import write_text
from biodist.run.folder import JobFolder
from biodist.run.jobs import SlurmJob, submitted
from launch.requests import held_back

_IGNORING = 'trap "" TERM INT USR1 USR2; exec "$@"'
# This life of this job, as in the names of what it leaves in its folder.
_LIFE = "${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}-${SLURM_RESTART_COUNT:-0}"
NO_SLURM = "no Slurm here (sbatch and srun are not on PATH): submit from a login node of the cluster"


@dataclass(frozen=True)
class Parameters:
    """What sbatch is told, by submitit's names."""

    values: dict[str, object]

    @classmethod
    def of(cls, plan: Plan, folder: Path, run_name: str, after: str | None = None) -> Parameters:
        """Those of a plan on its profile; `after`: the job this one waits for."""
        profile, machine = _profile(plan), plan.machine
        gpus = profile.gpus_of(machine.processes_per_node)
        more: dict[str, object] = {"requeue" if profile.requeue else "no-requeue": True, **profile.sbatch_options()}
        if profile.reservation is not None:
            more["reservation"] = profile.reservation
        optional = {
            "partition": profile.partition,
            "account": profile.account,
            "qos": profile.qos,
            "constraint": profile.constraint,
            "exclude": profile.exclude,
            "exclusive": profile.exclusive or None,
            "gpus_per_node": f"{profile.gpu_type}:{gpus}" if profile.gpu_type and gpus else gpus or None,
            "cpus_per_task": profile.cpus_per_process,
            "mem": f"{profile.memory_mib}M",
            "dependency": f"afterany:{after}" if after else None,
        }
        return cls(
            {
                "job_name": run_name,
                "time": profile.time_limit_min,
                "nodes": machine.nodes,
                "ntasks_per_node": machine.processes_per_node,
                "signal_delay_s": profile.signal_lead_s,
                "setup": list(profile.setup) or None,
                "teardown": _teardown(plan, shlex.quote(str(folder))),
                # A rank that fails must not take the others' last words with it. srun has not inherited
                # --cpus-per-task from sbatch since Slurm 22.05.
                "srun_args": [
                    *("--kill-on-bad-exit=0", "--wait=0", "--distribution=block"),
                    f"--cpus-per-task={profile.cpus_per_process}",
                ],
                "stderr_to_stdout": True,
                "wckey": None,
                "additional_parameters": more,
                **{name: value for name, value in optional.items() if value is not None},
            }
        )


def _teardown(plan: Plan, folder: str) -> list[str]:
    """Once srun has ended: a task's part, where no task was left to do it, and what a task without Slurm has left."""
    return [
        "code=$?",
        'if [ "$code" != 0 ]; then',
        f'  {python_of(plan)} -m biodist.cli.job {folder} "$code"',
        f'  left={folder}/handovers/"{_LIFE}".sh',
        '  [ ! -f "$left" ] || sh "$left"',
        "fi",
        'exit "$code"',
    ]


class ScriptExecutor(SlurmExecutor):
    """submitit's executor, giving sbatch the script that already lies in the run's folder."""

    def __init__(self, folder: Path, python: str, script: Path):
        super().__init__(folder=folder, python=python)
        self._script = script

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        return self._script.read_text(encoding="utf-8")

    def accepted(self, ask: Callable[[], Job[int]], what: str) -> str:
        """The number Slurm gives to what `ask` submits. Raises MachineCannot, with Slurm's own words."""
        try:
            with clean_surroundings():
                job_id = str(ask().job_id)
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            raise MachineCannot(f"Slurm refuses the {what}: {_words(error)}") from None
        for link in Path(self.folder).glob(".submission_file_*"):  # submitit's own way back to what it renamed
            link.unlink()
        return job_id


def script_text(plan: Plan, folder: Path, run_name: str | None = None, after: str | None = None) -> str:
    """The very script for sbatch, as it is written for the submission in `folder`. Submits nothing, needs no Slurm."""
    from submitit.slurm.slurm import _make_sbatch_string

    parameters = Parameters.of(plan, folder, run_name or plan.recipe.name, after).values
    command = f"{python_of(plan)} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    text: str = _make_sbatch_string(command=command, folder=folder, **parameters)  # type: ignore[arg-type]
    return text


def submit(job: JobFolder, plan: Plan, task: Callable[[], int], after: str | None = None) -> str:
    """Writes the script, submits it and notes the job's number, which it gives; `after`: the job it waits for.

    Raises MachineCannot, with Slurm's own words, when there is no Slurm or sbatch refuses.
    """
    refuse_without_slurm()
    name = job.run.root.name
    write_text(job.script, script_text(plan, job.root, name, after))
    executor = ScriptExecutor(job.root, python_of(plan), job.script)
    executor.update_parameters(**Parameters.of(plan, job.root, name, after).values)
    with uninterrupted():
        job_id = executor.accepted(lambda: executor.submit(task), "job")
        submitted(job, SlurmJob(job_id=job_id, submitted=time.time(), after=after))
    return job_id


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until a job that Slurm has accepted is also noted: one that nobody knows cannot be cancelled."""
    with held_back({signal.SIGINT, signal.SIGTERM}):
        yield


@contextmanager
def clean_surroundings() -> Iterator[None]:
    """Without the variables of a job that submits another, and of a user whose SBATCH_… would beat the script."""
    configuration = os.environ.get("SLURM_CONF")
    with clean_env():
        if configuration is not None:
            os.environ["SLURM_CONF"] = configuration
        yield


def refuse_without_slurm() -> None:
    """Raises MachineCannot where there is nothing to submit to."""
    if not can_submit():
        raise MachineCannot(NO_SLURM)


def can_submit() -> bool:
    return shutil.which("sbatch") is not None and shutil.which("srun") is not None


def note_job(job: JobFolder, job_id: str, task: Callable[[], int], after: str | None = None) -> None:
    """Leaves what the tasks of a job run, and its number, in its folder. A task that is there earlier waits for it."""
    delayed = DelayedSubmission(task)
    delayed.dump(job.root / f"{job_id}_submitted.pkl")
    submitted(job, SlurmJob(job_id=job_id, submitted=time.time(), after=after))


def python_of(plan: Plan) -> str:
    """The words before ``-m``. Signals are ignored until this project's code listens: one that came earlier would end
    the task, and a job that ends inside its grace time is not requeued. Ignored, it is killed and requeued."""
    profile = _profile(plan)
    # -P: a launch.py in the folder that a person submits from is not ours.
    words = shlex.join([*profile.launcher, profile.python or sys.executable, "-P"])
    return f"sh -c {shlex.quote(_IGNORING)} sh {words}"


def _words(error: Exception) -> str:
    """Slurm's own words in what submitit raises."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line.removeprefix("sbatch: error: ") for line in lines if line.startswith(("sbatch:", "srun:", "slurm"))]
    return "; ".join(said or [line for line in lines if line])


def _profile(plan: Plan) -> Profile:
    if plan.profile is None:
        raise MachineCannot("this plan is for one machine, not for a cluster; plan it with --on PROFILE")
    return plan.profile
