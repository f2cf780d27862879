"""What a task that has no Slurm at hand leaves behind: the commands that bring its job back.

A task may run in a container without `scontrol` and `sbatch`. The batch script runs outside of it: once srun has ended,
it runs what the task that had to bring the job back has left, if it has left anything. Where the batch script has no
Slurm either, the file stays, and `biodist status` says that the job must be submitted again.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from string import Template

from biodist.plan.plan import Plan
from biodist.run.durable import write_text
from biodist.run.folder import JobFolder
from launch.slurm.life import Life
from launch.slurm.scheduler import UNREACHED, WAITS_ALREADY
from launch.slurm.submission import python_of, script_text

_HEAD = Template("""\
#!/bin/sh
# Brings job $job back: rank $rank on $node found no Slurm where it ran. The batch script runs this, and nobody else.
trap "" TERM  # Slurm ends a job that it requeues
say() { echo "$$(date "+%Y-%m-%d %H:%M:%S")  $$*"; }
if [ -e $cancelled ]; then
  say "cancelled by \\`biodist cancel\\`: it does not come back"
  exit
fi
""")

_REQUEUE = Template("""\
if said=$$(scontrol requeue $job 2>&1); then
  say "requeued by the batch script: job $job goes on where it stopped"
  rm -f -- "$$0"
  exit
fi
say "could not be requeued: $$said"
case $$said in
  $waits) rm -f -- "$$0"; exit ;;
  $unreached) say $again; exit ;;  # it may have been requeued all the same
esac
""")

# Slurm's variables are this job's, and would change what is submitted.
_SUCCEED = Template("""\
next=$$(
  unset $$(awk 'BEGIN { for (name in ENVIRON) if (name ~ /^(SLURMD?|SRUN|SBATCH|SUBMITIT)_/) print name }' |
    grep -vx SLURM_CONF)
  sbatch --parsable $script
)
next=$${next%%;*}  # the cluster's name may stand behind it
if [ -n "$$next" ] && $python -m biodist.cli.job $folder --next "$$next" $job; then
  say "job $$next takes its place and begins once job $job has ended"
  rm -f -- "$$0"
  exit
fi
[ -z "$$next" ] || scancel "$$next"  # one that nobody has noted cannot be found again
say $again
""")


def hand_over(job: JobFolder, life: Life, plan: Plan, resume_command: str) -> Path:
    """Leaves to the batch script what brings this life's job back; gives the file. `resume_command`: what a person
    types where the batch script has no Slurm either. Raises OSError."""
    assert plan.profile is not None
    left, following = job.handover(life.job_id, life.restart), job.following_script(life.job_id, life.restart)
    left.parent.mkdir(exist_ok=True)
    write_text(following, script_text(plan, job.root, job.run.root.name, after=life.job_id))
    values = {
        **{"job": life.job_id, "rank": str(life.rank), "node": life.node},
        **{"cancelled": _quoted(job.cancelled), "folder": _quoted(job.root), "script": _quoted(following)},
        "waits": _pattern(WAITS_ALREADY),
        "unreached": "|".join(map(_pattern, UNREACHED)),
        "python": python_of(plan),
        "again": shlex.quote(f"job {life.job_id} must be submitted again: {resume_command}"),
    }
    parts = (_HEAD, *((_REQUEUE,) if plan.profile.requeue else ()), _SUCCEED)
    write_text(left, "".join(part.substitute(values) for part in parts))
    return left


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _pattern(words: str) -> str:
    """What matches a text with these words in it, in a shell's `case`."""
    return f'*"{words}"*'
