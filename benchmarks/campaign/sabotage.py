"""Breaks a resume on purpose, in ways that nothing else notices, so that a campaign is seen to be able to fail."""

from __future__ import annotations

import shutil
from enum import StrEnum

from biodist.checkpoint.manifest import NAME
from biodist.checkpoint.reading import Checkpoint, checkpoints_in
from biodist.checkpoint.shards import file_digest
from biodist.errors import EXIT_DONE, RunFailed
from biodist.run.folder import RunFolder
from campaign.cases import Case
from campaign.ground import Ground
from campaign.strike import run_attempt
from campaign.traps import Trap
from campaign.verdict import differences


class Sabotage(StrEnum):
    """What is broken."""

    SEEDING = "the resumed attempt seeds no step"
    MOMENT = "one element of a moment is changed, and the checkpoint's digests made to fit"


SABOTAGES = tuple(Sabotage)


def sabotaged(ground: Ground, case: Case, how: Sabotage) -> list[str]:
    """What the comparison says of a case that was killed, broken and resumed.

    Raises:
        RunFailed: the run did not finish, so nothing was compared.
    """
    undisturbed = ground.undisturbed(case.strategy, case.world_size)
    folder = ground.folder / "runs" / f"{case.number:03d}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for blows in case.attempts:
        run_attempt(ground, case, folder, blows)
    run = RunFolder(folder / "run")
    skips = []
    if how is Sabotage.SEEDING:
        skips = [Trap("biodist.training.steps", "seed_step", "", 0, rank, "", "", skips=True) for rank in range(2)]
    else:
        change_moment(checkpoints_in(run.checkpoints)[-1])
    ended = run_attempt(ground, case, folder, (), skips)
    if ended.exit_code != EXIT_DONE:
        raise RunFailed(f"the sabotaged run ended with {ended.exit_code}: see {folder}")
    wrong = differences(run, undisturbed)
    shutil.rmtree(folder)
    return wrong


def change_moment(checkpoint: Checkpoint) -> None:
    """Flips one bit of the first shard's last number, an exponent's, and signs the checkpoint anew."""
    name = sorted(checkpoint.manifest.files)[0]
    path = checkpoint.folder / name
    data = bytearray(path.read_bytes())
    data[-2] ^= 0x80
    path.write_bytes(data)
    files = {**checkpoint.manifest.files, name: file_digest(path)}
    signed = checkpoint.manifest.model_copy(update={"files": files}).signed()
    (checkpoint.folder / NAME).write_text(signed.model_dump_json(), encoding="utf-8")
