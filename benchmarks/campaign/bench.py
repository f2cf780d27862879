"""Where a stopped run is copied, damaged, and gone on with."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from biodist.checkpoint.reading import checkpoints_in
from biodist.errors import EXIT_DONE, EXIT_FAILED, EXIT_MACHINE, EXIT_STOPPED, RunFailed
from biodist.run.folder import RunFolder
from biodist.run.records import AttemptRecord
from campaign.cases import Blow, Case, Kind
from campaign.damages import Damage, Outcome, damages, digests, newest_of
from campaign.full_disk import FILLINGS, Filling, fill, small_disk
from campaign.ground import Ground, launched
from campaign.ledger import Row
from campaign.strike import ending, run_attempt, trap_of, wait_for
from campaign.traps import Trap, environment, moment
from campaign.verdict import differences, leftovers

STRATEGY, WORLD_SIZE = "zero2", 2
STOPPED_AT = 17  # steps; the checkpoint before is of step 15
EQUAL = "finished, equal bits"
TOO_SMALL_MB = 1


def stopped_run(ground: Ground) -> RunFolder:
    """The run that every case starts from, stopped half-way; made once.

    Raises:
        RunFailed: it did not stop as asked.
    """
    folder = ground.folder / "stopped"
    run = RunFolder(folder / "run")
    if not run.result.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        blow = Blow(Kind.TERM, moment("step"), STOPPED_AT, 0)
        ended = run_attempt(ground, Case(0, STRATEGY, WORLD_SIZE, ((blow,),)), folder, (blow,))
        if ended.exit_code != EXIT_STOPPED:
            raise RunFailed(f"the run to damage ended with {ended.exit_code}: see {folder}")
    return run


@dataclass(frozen=True)
class Went:
    """How one command on a damaged run went."""

    exit_code: int
    said: str
    resumed_step: int | None


@dataclass(frozen=True)
class Bench:
    """One stopped run, and the run that nobody disturbed."""

    ground: Ground
    stopped: RunFolder
    undisturbed: RunFolder

    def cases(self, root: bool) -> Iterator[tuple[str, Callable[[], Row]]]:
        """Every case by name."""
        for damage in damages(newest_of(self.stopped)):
            yield damage.name, partial(self.damaged, damage)
        if root:
            for filling in FILLINGS:
                yield filling.name, partial(self.filled, filling)
            name = "disk too small before the start"
            yield name, partial(self.too_small, name)

    def damaged(self, damage: Damage) -> Row:
        """The same command on a damaged copy; where it refuses, again once the checkpoints are restored."""
        began = time.monotonic()
        run = self._copy()
        damage.act(run)
        before = digests(run.checkpoints)
        went = self._go_on(run)
        problems = _told(went, damage.said)
        if went.exit_code != damage.outcome.value:
            problems.append(f"exit code {went.exit_code}, must be {damage.outcome.value}")
        then = EQUAL
        if damage.outcome is not Outcome.PASSED_OVER:
            if digests(run.checkpoints) != before:
                problems.append("the checkpoints were changed")
            shutil.rmtree(run.checkpoints)
            shutil.copytree(self.stopped.checkpoints, run.checkpoints)
            problems += self._finishes(run)
            then = f"checkpoints restored: {EQUAL}"
        else:
            steps = [c.step for c in checkpoints_in(self.stopped.checkpoints)]
            if went.resumed_step != steps[-2]:
                problems.append(f"went on from {went.resumed_step}, must be {steps[-2]}")
            problems += self._wrong(run, went.exit_code)
        return self._row(damage.name, went, then, problems, began, run)

    def filled(self, filling: Filling) -> Row:
        """The disk fills inside the next save; then room is made and the same command run again."""
        began = time.monotonic()
        run = RunFolder(self._place() / "run")
        with ExitStack() as mounts:
            disk = run.root / filling.mounted_on
            if not filling.mounted_on:
                mounts.enter_context(small_disk(disk))
            shutil.copytree(
                self.stopped.root, run.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("checkpoints")
            )
            if filling.mounted_on:
                mounts.enter_context(small_disk(disk))
            shutil.copytree(self.stopped.checkpoints, run.checkpoints, dirs_exist_ok=True)
            before = digests(run.checkpoints)
            filler: list[Path] = []
            blow = Blow(Kind.TERM, filling.moment, 1, filling.rank)
            trap = trap_of(run.root.parent, 0, blow)
            went = self._go_on(run, (trap,), lambda: filler.append(self._fill(run, disk, filling)))
            for path in filler:
                path.unlink()
            problems = _told(went, filling.said)
            if not filler:
                problems.append("the disk was never filled")
            if went.exit_code != EXIT_FAILED:
                problems.append(f"exit code {went.exit_code}, must be {EXIT_FAILED}")
            if digests(run.checkpoints) != before:
                problems.append(f"the checkpoints were changed: {sorted(digests(run.checkpoints))}")
            problems += self._finishes(run)
            row = self._row(filling.name, went, f"room made: {EQUAL}", problems, began, run)
        return row

    def _fill(self, run: RunFolder, disk: Path, filling: Filling) -> Path:
        """Where one rank alone is to fail, the other's shard is whole by then."""
        if filling.rank:
            size = (newest_of(self.stopped) / "shard-00000-of-00002.safetensors").stat().st_size
            shards = run.checkpoints.glob
            wait_for(lambda: any(s.stat().st_size >= size for s in shards(".staging-*/shard-00000*")), 60)
        return fill(disk)

    def too_small(self, name: str) -> Row:
        """A new run on a disk that is too small for it."""
        began = time.monotonic()
        run = RunFolder(self._place() / "run")
        with small_disk(run.root, TOO_SMALL_MB):
            went = self._go_on(run)
            problems = _told(went, ("the disk has",))
            if went.exit_code != EXIT_MACHINE:
                problems.append(f"exit code {went.exit_code}, must be {EXIT_MACHINE}")
            if run.attempts():
                problems.append("an attempt was made")
            row = self._row(name, went, "nothing written", problems, began, run)
        return row

    def _place(self) -> Path:
        place = self.ground.folder / "damaged"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        return place

    def _copy(self) -> RunFolder:
        return RunFolder(Path(shutil.copytree(self.stopped.root, self._place() / "run")))

    def _go_on(self, run: RunFolder, traps: Sequence[Trap] = (), act: Callable[[], None] | None = None) -> Went:
        """The same command; ``act`` once a process stands in the first trap."""
        log = run.root.parent / "launcher.log"
        log.unlink(missing_ok=True)
        variables = environment(self.ground.variables(), traps)
        command = self.ground.command(run.root, STRATEGY, WORLD_SIZE)
        with launched(command, self.ground.folder, variables, log) as launcher:
            if traps and act:
                wait_for(lambda: traps[0].holds is not None or launcher.poll() is not None)
                if traps[0].holds is not None:
                    act()
                traps[0].let_go()
            code = ending(launcher)
        attempts = run.attempts()
        record = AttemptRecord.load(attempts[-1].record) if attempts and attempts[-1].record.exists() else None
        return Went(code, log.read_text(encoding="utf-8"), record.resumed_step if record else None)

    def _finishes(self, run: RunFolder) -> list[str]:
        went = self._go_on(run)
        return [f"then: {what}" for what in self._wrong(run, went.exit_code)]

    def _wrong(self, run: RunFolder, exit_code: int) -> list[str]:
        if exit_code != EXIT_DONE:
            return [f"exit code {exit_code}, must be 0"]
        return differences(run, self.undisturbed) + [f"left behind: {path}" for path in leftovers(run)]

    def _row(self, name: str, went: Went, then: str, problems: list[str], began: float, run: RunFolder) -> Row:
        if not problems:
            shutil.rmtree(run.root.parent, ignore_errors=True)
        else:
            kept = self.ground.folder / "kept" / name.replace("/", " ")
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(run.root.parent, kept)
        return {
            "case": name,
            "exit_code": went.exit_code,
            "resumed_step": went.resumed_step,
            "then": then,
            "said": went.said[-2000:],
            "problems": problems,
            "seconds": round(time.monotonic() - began, 1),
        }


def _told(went: Went, words: Sequence[str]) -> list[str]:
    """What the user was not told. Lines are broken at any width."""
    told = " ".join(went.said.split())
    return [f"not said: {word!r}" for word in words if word not in told]
