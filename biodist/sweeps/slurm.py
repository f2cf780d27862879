"""Trials as Slurm jobs of their own: submitted together as arrays, watched by one question for all of them.

No Ray runs on the nodes. A job that is preempted or loses its node comes back by itself, as every run's job does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from biodist.errors import MachineCannot
from biodist.run.jobs import Submission
from biodist.run.sweep_folder import SweepFolder
from biodist.sweeps.backend import Launch, Note, Refused
from biodist.sweeps.ledger import Started
from launch.cancellation import JobCancellation
from launch.slurm.scheduler import UNREACHED, Scheduler
from launch.standing import History, is_under_way, open_jobs

Submit = Callable[[Sequence[Launch]], tuple[dict[str, str], list[Refused]]]
"""Submits trials, several as one array; gives the jobs by key, and those that can never be submitted."""

_FULL = ("MaxSubmitJob",)  # what accounting says to a user who has as many jobs as are allowed
_LOOK_EVERY_S = 5.0
_NOTED_WITHIN_S = 5.0  # a job that brings itself back is noted this soon after it was submitted


@dataclass
class SlurmBackend:
    """Submits, finds again and ends the jobs of trials."""

    folder: SweepFolder
    submit: Submit
    slots: int
    gpus: float
    say: Callable[[str], None]
    scheduler: Scheduler = field(default_factory=Scheduler)
    look_every_s: float = _LOOK_EVERY_S
    ends_with_driver: bool = False
    _asked: set[str] = field(default_factory=set)

    def adopt(self, started: Mapping[str, Started | None]) -> set[str]:
        self._end_strangers()
        return self.living(list(started))

    def start(self, launches: Sequence[Launch], note: Note) -> list[Refused]:
        try:
            jobs, refused = self.submit(launches)
        except MachineCannot as error:
            if not any(sign in str(error) for sign in (*UNREACHED, *_FULL)):
                raise
            self.say(f"Slurm takes no job now, {len(launches)} trials wait: {error}")
            return []
        for key, job in jobs.items():
            note(Started(key=key, job=job))
        return refused

    def living(self, keys: Sequence[str]) -> set[str]:
        histories = {key: History.read(self.folder.trial(key)) for key in keys}
        try:
            known = self.scheduler.jobs(open_jobs(histories.values()))
        except MachineCannot:
            known = None
        return {key for key, history in histories.items() if is_under_way(history, known)}

    def stop(self, key: str) -> None:
        history = History.read(self.folder.trial(key))
        if key in self._asked or history.folder is None:
            return
        cancellation = JobCancellation(history.folder, self.scheduler, self.say)
        cancellation.mark()
        try:
            for job in cancellation.living():
                self.scheduler.cancel(job.job_id)
        except MachineCannot as error:  # asked again at the next look; marked, it does not come back in any case
            self.say(f"trial {key}: {error}")
            return
        self._asked.add(key)

    def kill(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.stop(key)

    def close(self) -> None:
        pass

    def _end_strangers(self) -> None:
        """Jobs of this sweep's scripts that no submission names: a driver died between sbatch and its note. They have
        done nothing, for what they are to run was not noted either."""
        if not self._strangers():
            return
        time.sleep(_NOTED_WITHIN_S)
        for job in self._strangers():
            self.say(f"job {job} of this sweep was submitted but never noted: scancel; its trial is submitted again")
            self.scheduler.cancel(job)

    def _strangers(self) -> list[str]:
        found = self.scheduler.jobs_of_scripts(self.folder.trials)
        return sorted(set(found) - self._noted()) if found else []

    def _noted(self) -> set[str]:
        return {
            job.job_id
            for key in self.folder.trial_keys()
            for folder in self.folder.trial(key).jobs()
            if folder.submission.exists()
            for job in Submission.load(folder.submission).jobs
        }
