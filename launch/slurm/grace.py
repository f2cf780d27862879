"""Whether a job is warned early enough: what a step and a save take, against the lead and the grace time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from biodist.config.profile import Profile
from biodist.run.folder import RunFolder
from launch.timings import Timings, slow

_RECENT = 50


@dataclass(frozen=True)
class Pace:
    """What this run takes, in seconds, as measured: the slower end of its recent steps, its longest recent save."""

    step_s: float
    save_s: float

    @property
    def needed_s(self) -> float:
        """From a signal to the end: the step under way, then the save."""
        return self.step_s + self.save_s


def measured_pace(run: RunFolder) -> Pace | None:
    """By the newest attempt that made steps and saves: those before may have had other nodes. None: there is none."""
    for attempt in reversed(run.attempts()):
        timings = Timings.of(attempt)
        if timings.steps and timings.saves:
            return Pace(step_s=slow(timings.steps[-_RECENT:]), save_s=max(timings.saves[-_RECENT:]))
    return None


def grace_notice(run: RunFolder, profile: Profile | None) -> Iterator[str]:
    """What is too short, and what to set; nothing while nothing has been measured."""
    pace = measured_pace(run)
    if pace is None or profile is None:
        return
    takes = f"a step ({pace.step_s:.1f} s) and a save ({pace.save_s:.1f} s) of this run take {pace.needed_s:.1f} s"
    if pace.needed_s > profile.signal_lead_s:
        yield (
            f"{takes}, but the job is warned only {profile.signal_lead_s} s before its time limit: what was trained "
            f"since the last checkpoint would be lost; set signal_lead_s={2 * pace.needed_s:.0f} in profile "
            f"{profile.name}"
        )
    if profile.grace_s is not None and pace.needed_s > profile.grace_s:
        yield (
            f"{takes}, but partition {profile.partition} leaves a preempted job {profile.grace_s} s: it goes on from "
            "its last checkpoint then; set checkpoint.every_steps lower, to lose less"
        )
