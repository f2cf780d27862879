"""One run of the kill campaign, from its first blow to its end."""

from __future__ import annotations

import shutil
import time

from biodist.errors import EXIT_DONE
from biodist.run.folder import RunFolder
from campaign.cases import Blow, Case
from campaign.ground import Ground
from campaign.ledger import Row
from campaign.strike import run_attempt
from campaign.verdict import SAMPLES, WEIGHTS, differences, leftovers

RESUMES = 3  # after the last blow one must do


def struck_run(ground: Ground, case: Case) -> Row:
    """Runs a case to its end; its row. The folder stays where something was wrong."""
    undisturbed = ground.undisturbed(case.strategy, case.world_size)
    began = time.monotonic()
    folder = ground.folder / "runs" / f"{case.number:03d}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    codes: list[int] = []
    problems: list[str] = []
    struck: list[Blow] = []
    for blows in (*case.attempts, *[()] * RESUMES):
        ended = run_attempt(ground, case, folder, blows)
        codes.append(ended.exit_code)
        problems += ended.problems
        struck += blows[: ended.struck]
        if ended.exit_code == EXIT_DONE and len(codes) >= len(case.attempts):
            break
        if not blows and ended.exit_code != EXIT_DONE:
            break
    run = RunFolder(folder / "run")
    finished = codes[-1] == EXIT_DONE
    wrong = differences(run, undisturbed) if finished else []
    left = leftovers(run)
    problems += wrong + [f"left behind: {path}" for path in left]
    if not problems:
        shutil.rmtree(folder)
    return {
        "case": case.key,
        "strategy": case.strategy,
        "world_size": case.world_size,
        "blows": [[blow.kind, blow.moment.name] for blow in struck],
        "exit_codes": codes,
        "finished": finished,
        "equal_weights": finished and not any(what.startswith(WEIGHTS) for what in wrong),
        "equal_samples": finished and not any(what.startswith(SAMPLES) for what in wrong),
        "leftovers": left,
        "problems": problems,
        "seconds": round(time.monotonic() - began, 1),
    }
