"""Several submissions as one array: one script, one number, each run in a folder of its own."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from biodist.plan.plan import Plan
from biodist.run.durable import write_text
from biodist.run.folder import JobFolder
from launch.slurm.submission import (
    Parameters,
    ScriptExecutor,
    note_job,
    python_of,
    refuse_without_slurm,
    uninterrupted,
)

_HERE = "/@FOLDER@"  # in place of a submission's folder, which differs from run to run


def array_text(plan: Plan, folders: Sequence[Path], name: str, listing: Path) -> str:
    """The script of an array that runs the submissions in `folders`, which the file `listing` names by line.

    All ask for the same nodes: those of `plan`. Submits nothing, needs no Slurm.
    """
    from submitit.slurm.slurm import _make_sbatch_string

    parameters = Parameters.of(plan, Path(_HERE), name).values
    log = f"{_HERE}/${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}_0_log.out"
    setup = [
        f'folder=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {shlex.quote(str(listing))})',
        f'exec >> "{log}" 2>&1',
        *(parameters["setup"] or ()),  # type: ignore[misc]
    ]
    command = f"{python_of(plan)} -u -m submitit.core._submit {_HERE}"
    text: str = _make_sbatch_string(
        command=command,
        folder=_HERE,
        map_count=len(folders),
        **{**parameters, "setup": setup},  # type: ignore[arg-type]
    )
    head, body = text.split("# setup", 1)
    # Slurm opens this one before the script can say which run it is; the script then goes over to its own.
    head = head.replace(f"{_HERE}/%A_%a_0_log.out", "/dev/null")
    return head + "# setup" + body.replace(f'"{_HERE}/', '"$folder/').replace(_HERE, '"$folder"')


def submit_array(jobs: Sequence[JobFolder], plans: Sequence[Plan], tasks: Sequence[Callable[[], int]]) -> list[str]:
    """Writes script and listing into the first submission, the script beside each other plan, and submits them as one
    array. Notes each job's number, and gives them.

    Raises MachineCannot, with Slurm's own words, when there is no Slurm or sbatch refuses.
    """
    refuse_without_slurm()
    first, plan = jobs[0], plans[0]
    listing = first.root / "array"
    write_text(listing, "".join(f"{job.root}\n" for job in jobs))
    name = first.run.root.name
    text = array_text(plan, [job.root for job in jobs], name, listing)
    for job in jobs:
        write_text(job.script, text)
    parameters = Parameters.of(plan, first.root, name).values
    executor = ScriptExecutor(first.root, python_of(plan), first.script)
    executor.update_parameters(**parameters)
    with uninterrupted():
        array_id = executor.accepted(lambda: executor._submit_command(""), "array")
        ids = [f"{array_id}_{number}" for number in range(len(jobs))]
        for job, job_id, task in zip(jobs, ids, tasks, strict=True):
            note_job(job, job_id, task)
    return ids
