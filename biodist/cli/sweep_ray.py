"""Trials on a Ray cluster that is there already: `--on ray`, with RAY_ADDRESS."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from biodist.cli.cache import cache_folder
from biodist.cli.sweep_places import Site
from biodist.errors import Problem, UserError

if TYPE_CHECKING:
    from biodist.config.sweep_loading import StatedSweep
    from biodist.plan.plan import Plan
    from biodist.run.sweep_folder import SweepFolder
    from biodist.sweeps.place import Place


def ray_site(stated: StatedSweep, folder: SweepFolder, place: Place, plan: Plan) -> Site:
    """Joins the cluster. Raises MachineCannot where there is none, or no node has room for a trial."""
    from biodist.sweeps.ray_cluster import RayBackend
    from biodist.sweeps.searchers import quieten

    if place.nodes is not None and place.nodes != 1:
        what = f"is {place.nodes}, but a trial on a Ray cluster keeps to one node"
        raise UserError(Problem("--nodes", what, "leave it out; more processes: --nproc"))
    quieten()
    nproc = place.nproc or 1
    on_gpus = plan.machine.device == "cuda"
    device = ("--device", place.device) if place.device != "auto" else ()
    backend = RayBackend(
        folder=folder,
        address=os.environ.get("RAY_ADDRESS", "auto"),
        options=("--nproc", str(nproc), *device),
        nproc=nproc,
        cpus=nproc,
        gpus=float(nproc) if on_gpus else 0.0,
        slots=stated.sweep.search.concurrency,
        environment={"BIODIST_CACHE": str(cache_folder())},
    )
    held = f"{nproc} {'GPUs' if on_gpus else 'CPUs'} each"
    return Site(backend, plan, f"{backend.slots} trials at a time on the Ray cluster {backend.address}, {held}")
