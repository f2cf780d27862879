"""Trials on a cluster: each a job of its own, by the same path as `biodist submit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from biodist.cli.say import err
from biodist.cli.submission import Candidate, Wish, candidate, refuse_limits, submit_candidates
from biodist.cli.sweep_places import Site
from biodist.errors import BiodistError, MachineCannot, UserError
from biodist.sweeps.backend import Launch, Refused
from biodist.sweeps.slurm import SlurmBackend

if TYPE_CHECKING:
    from biodist.config.sweep_loading import StatedSweep
    from biodist.plan.plan import Plan
    from biodist.run.sweep_folder import SweepFolder
    from biodist.sweeps.place import Place


def slurm_site(stated: StatedSweep, folder: SweepFolder, place: Place, plan: Plan) -> Site:
    """Raises UserError, MachineCannot where the profile's partition cannot run a trial."""
    assert plan.profile is not None and place.on is not None
    refuse_limits(plan)
    machine, on = plan.machine, place.on

    def submit(launches: Sequence[Launch]) -> tuple[dict[str, str], list[Refused]]:
        found, refused = dict[str, Candidate](), list[Refused]()
        for launch in launches:
            wish = Wish(str(folder.recipe), launch.overrides, on, place.nodes, place.nproc)
            try:
                one = candidate(wish, launch.run.root)
            except (UserError, MachineCannot) as error:
                refused.append(Refused(launch.key, _one_line(error)))
                continue
            if isinstance(one, Candidate):
                found[launch.key] = one
        ids = submit_candidates(list(found.values())) if found else []
        return dict(zip(found, ids, strict=True)), refused

    slots = stated.sweep.search.concurrency
    gpus = machine.nodes * plan.profile.gpus_of(machine.processes_per_node)
    processes = f"{machine.nodes} × {machine.processes_per_node} processes"
    line = f"{slots} trials at a time on {plan.profile.name}, a job of {processes} each"
    return Site(SlurmBackend(folder, submit, slots, float(gpus), err.print), plan, line)


def _one_line(error: BiodistError) -> str:
    return "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
