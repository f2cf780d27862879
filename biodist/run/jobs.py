"""What a run says of its submissions to a cluster: `jobs/NNNN/submission.json`."""

from __future__ import annotations

import shlex

from biodist.run.folder import JobFolder
from biodist.run.records import Record


class SlurmJob(Record):
    """One job of a submission: the first, or one that goes on where requeueing is forbidden."""

    job_id: str
    submitted: float  # UNIX seconds
    after: str | None = None  # the job it waits for


class Submission(Record):
    """What was submitted, and under which numbers."""

    profile: str
    nodes: int
    world_size: int
    command: tuple[str, ...]  # what a person types to submit it again
    jobs: tuple[SlurmJob, ...] = ()  # newest last

    @property
    def current(self) -> SlurmJob | None:
        """The job that runs or waits, if any is left."""
        return self.jobs[-1] if self.jobs else None


def resume_options(folder: JobFolder) -> tuple[str, ...]:
    """What `biodist resume` needs to go on as this submission did, with its very profile. Raises OSError, RunFailed."""
    return ("--on", str(folder.profile), "--nodes", str(Submission.load(folder.submission).nodes))


def resume_command(folder: JobFolder) -> str:
    """What a person types to go on in a submission of its own. Raises OSError, RunFailed."""
    return shlex.join(["biodist", "resume", str(folder.run.root), *resume_options(folder)])


def submitted(folder: JobFolder, job: SlurmJob) -> Submission:
    """Notes one more job. Raises OSError, RunFailed."""
    submission = Submission.load(folder.submission)
    submission = submission.model_copy(update={"jobs": (*submission.jobs, job)})
    submission.save(folder.submission)
    return submission
