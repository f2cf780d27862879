"""A sweep's driver as a batch job: one small task that is requeued until the sweep is over."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time

from biodist.config.profile import Profile
from biodist.errors import MachineCannot
from biodist.run.durable import write_text
from biodist.run.folder import JobFolder
from biodist.run.jobs import SlurmJob, Submission, submitted
from launch.slurm.submission import clean_surroundings, refuse_without_slurm, uninterrupted

MEMORY_MIB = 2048
CPUS = 1
_MARK = "BIODIST_DRIVER_JOB"
_SBATCH_S = 60


def this_job() -> tuple[str | None, int]:
    """The number of the batch job that runs this process as a driver, and how often it was started again."""
    job = os.environ.get("SLURM_JOB_ID") if os.environ.get(_MARK) else None
    return job, int(os.environ.get("SLURM_RESTART_COUNT", "0")) if job else 0


def driver_script(profile: Profile, folder: JobFolder, name: str, command: tuple[str, ...]) -> str:
    """The batch script. A first signal lets the driver end by itself (75), and the job is requeued; one that is killed
    is requeued by Slurm."""
    lines = {
        **{"job-name": name, "nodes": 1, "ntasks": 1, "cpus-per-task": CPUS, "mem": f"{MEMORY_MIB}M"},
        **{"time": profile.time_limit_min, "signal": f"B:USR2@{profile.signal_lead_s}"},
        **{"output": folder.root / "%j.log", "open-mode": "append"},
    }
    optional = {name: getattr(profile, name) for name in ("partition", "account", "qos", "constraint", "reservation")}
    options = [
        f"--{key}={shlex.quote(str(value))}" for key, value in {**lines, **optional}.items() if value is not None
    ]
    options += ["--requeue" if profile.requeue else "--no-requeue"]
    again = 'scontrol requeue "$SLURM_JOB_ID"' if profile.requeue else "true"
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {option}" for option in options),
            *profile.setup,
            f"export {_MARK}=1",
            "trap 'kill -TERM \"$driver\" 2>/dev/null' TERM USR1 USR2",
            f"{shlex.join(command)} &",
            "driver=$!",
            'wait "$driver"; code=$?',
            # A signal ends the waiting, not the driver; bash keeps the driver's own code for the next wait.
            'while [ "$code" -gt 128 ]; do wait "$driver"; next=$?; [ "$next" = 127 ] && break; code=$next; done',
            f'if [ "$code" = 75 ] && [ ! -e {shlex.quote(str(folder.cancelled))} ]; then {again}; fi',
            'exit "$code"',
            "",
        ]
    )


def driver_command(profile: Profile, words: tuple[str, ...]) -> tuple[str, ...]:
    """How the driver is called on a node."""
    return (profile.python or sys.executable, "-P", "-m", "biodist.cli", *words)


def submit_driver_job(profile: Profile, folder: JobFolder, name: str, words: tuple[str, ...]) -> str:
    """Writes the script, submits it and notes the job's number, which it gives. Raises MachineCannot."""
    refuse_without_slurm()
    write_text(folder.script, driver_script(profile, folder, name, driver_command(profile, words)))
    Submission(profile=profile.name, nodes=1, world_size=1, command=("biodist", *words)).save(folder.submission)
    with uninterrupted(), clean_surroundings():
        command = ["sbatch", "--parsable", str(folder.script)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SBATCH_S)
        except subprocess.TimeoutExpired:
            raise MachineCannot(f"Slurm has not answered sbatch for {_SBATCH_S} s: see `squeue --me`") from None
        if done.returncode != 0:
            said = done.stderr.strip() or f"exit code {done.returncode}"
            raise MachineCannot(f"Slurm refuses the driver's job: {said.splitlines()[-1]}")
        job_id = done.stdout.strip().partition(";")[0]
        submitted(folder, SlurmJob(job_id=job_id, submitted=time.time()))
    return job_id
