"""``--driver-on``: the sweep's driver as a job of the cluster."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from biodist.cli.say import out
from biodist.errors import EXIT_DONE, BiodistError, Problem, UserError

if TYPE_CHECKING:
    from biodist.config.sweep_loading import StatedSweep
    from biodist.run.sweep_folder import SweepFolder
    from biodist.sweeps.place import Place


def submit_driver(stated: StatedSweep, folder: SweepFolder, place: Place, profile_name: str) -> int:
    """Everything is checked here, the job only goes on. Raises UserError, MachineCannot."""
    from biodist.cli.profiles import named_profile
    from biodist.cli.submission import refuse_living_job
    from biodist.cli.sweep import driver_lease, write_down
    from biodist.cli.sweep_places import at, pace_of
    from biodist.run.durable import remove_tree
    from launch.slurm.driver_job import submit_driver_job

    profile = named_profile(profile_name)
    if place.kind == "local":
        what = "sends the driver to the cluster, but its trials would run beside it, on a node without their share"
        raise UserError(Problem("--driver-on", what, "name a profile for the trials as well: --on PROFILE"))
    pace_of(stated, at(stated, folder, place).plan, place)
    refuse_living_job(folder.driver)
    with driver_lease(stated, folder):
        write_down(stated, folder, place)
        job = folder.driver.new_job()
        words = ("sweep", "--resume", str(folder.root))
        try:
            job_id = submit_driver_job(profile, job, f"{stated.sweep.name}-driver", words)
        except BiodistError:
            remove_tree(job.root)
            raise
    root = shlex.quote(str(folder.root))
    out.print(f"{'sweep':<8}{folder.root}")
    out.print(f"{'job':<8}{job_id}: drives the sweep, on {profile.name}; its trials: {shlex.join(place.options())}")
    out.print(f"{'logs':<8}tail -F {shlex.quote(str(job.root / f'{job_id}.log'))}")
    out.print(f"{'status':<8}biodist status {root}")
    out.print(f"{'cancel':<8}biodist cancel {root}")
    return EXIT_DONE
