"""Where a rehearsal lives: beside the run it is for. No other module joins a path inside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from biodist.errors import Problem, UserError
from biodist.plan.plan import Plan, read_plan, write_plan
from biodist.run.durable import remove_tree
from biodist.run.folder import RunFolder

_OF_NO_ACCOUNT = {"command", "notices"}


@dataclass(frozen=True)
class RehearsalFolder:
    """``RUN-rehearsal``: two ordinary runs while it lasts, the verdict afterwards."""

    root: Path

    @classmethod
    def beside(cls, run: Path) -> RehearsalFolder:
        """Of the run in this folder, whether that is there or not."""
        run = run.absolute()
        return cls(run.with_name(f"{run.name}-rehearsal"))

    @property
    def plan(self) -> Path:
        """The plan of the run it is for, as it was when the rehearsal began."""
        return self.root / "plan.json"

    @property
    def verdict(self) -> Path:
        """There once it is over."""
        return self.root / "rehearsal.json"

    @property
    def undisturbed(self) -> RunFolder:
        return RunFolder(self.root / "undisturbed")

    @property
    def disturbed(self) -> RunFolder:
        return RunFolder(self.root / "disturbed")

    @property
    def runs(self) -> tuple[RunFolder, RunFolder]:
        return self.undisturbed, self.disturbed

    def goes_on(self, plan: Plan) -> bool:
        """Whether an unfinished rehearsal of this very plan lies here."""
        if self.verdict.exists() or not self.plan.exists():
            return False
        try:
            there = read_plan(self.plan)
        except UserError:  # of another version
            return False
        return there.model_dump(exclude=_OF_NO_ACCOUNT) == plan.model_dump(exclude=_OF_NO_ACCOUNT)

    def begin(self, plan: Plan) -> None:
        """Makes it for this plan, without anything that an earlier rehearsal left.

        Raises UserError when the folder holds something else, or cannot be made.
        """
        place, do = f"rehearsal folder {self.root}", "move it away, or name another run folder with --run"
        ours = {path.name for path in (self.plan, self.verdict, *(run.root for run in self.runs))}
        try:
            if self.root.exists() and (strange := {path.name for path in self.root.iterdir()} - ours):
                raise UserError(Problem(place, f"holds what no rehearsal left: {', '.join(sorted(strange))}", do))
            self.clear()
            self.root.parent.mkdir(parents=True, exist_ok=True)
            self.root.mkdir(mode=0o700 if plan.recipe.data.sensitive else 0o777, exist_ok=True)
            if plan.recipe.data.sensitive:
                self.root.chmod(0o700)
            self.verdict.unlink(missing_ok=True)
            write_plan(plan, self.plan)
        except OSError as error:
            raise UserError(Problem(place, f"cannot be made: {error.filename}: {error.strerror}", do)) from None

    def clear(self) -> None:
        """Removes its two runs; the verdict stays. Raises OSError."""
        for run in self.runs:
            remove_tree(run.root)
        self.plan.unlink(missing_ok=True)
