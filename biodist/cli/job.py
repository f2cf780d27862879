"""What a submitted job runs in each of its tasks. submitit pickles this class's name and a folder, nothing else."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launch.slurm.task import Task


@dataclass(frozen=True)
class JobTask:
    """One srun task of the submission in `folder`. Calling it ends the process with the contract's exit code."""

    folder: str

    def __call__(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)  # submitit's handlers would requeue by themselves; see the task's own

        from biodist.cli.train import keep_failure

        # submitit would write the result of every task beside the script; the run's folder says all of it.
        sys.exit(self._ending(lambda task: task.run(lambda publishing: keep_failure(task.job.run, publishing))))

    def after(self, code: int) -> int:
        """What the batch script calls when srun has ended with `code`; gives the code."""
        return self._ending(lambda task: task.after(code))

    def note_next(self, job_id: str, after: str) -> None:
        """What the batch script calls when it has submitted the job that takes the place of job `after`."""
        from biodist.run.folder import JobFolder
        from launch.slurm.submission import note_job

        note_job(JobFolder(Path(self.folder)), job_id, self, after)

    def _ending(self, live: Callable[[Task], int]) -> int:
        from biodist.cli.say import complain
        from biodist.errors import BiodistError
        from biodist.run.folder import JobFolder
        from launch.slurm.life import Life
        from launch.slurm.task import Task

        try:
            code = live(Task(JobFolder(Path(self.folder)), Life.read(os.environ), os.environ, again=self))
        except BiodistError as error:
            complain(error)
            code = error.exit_code
        sys.stderr.flush()
        return code


def main(folder: str, *words: str) -> int:
    """What a batch script calls: ``FOLDER CODE`` once srun has ended, ``FOLDER --next JOB AFTER`` as in `note_next`."""
    if words[0] == "--next":
        JobTask(folder).note_next(words[1], after=words[2])
        return 0
    return JobTask(folder).after(int(words[0]))


if __name__ == "__main__":
    from biodist.cli import job  # under its own name, which a job that takes this one's place unpickles

    sys.exit(job.main(*sys.argv[1:]))
