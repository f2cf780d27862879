"""``biodist tensorboard``: many runs as one TensorBoard tree."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from biodist.cli.say import err, out
from biodist.errors import MachineCannot, Problem, RunFailed, SomeFailed, UserError

if TYPE_CHECKING:
    from biodist.aggregation.tree import TreeWriter
    from biodist.aggregation.tree_state import Update

_PORT = 6006
_SHOWN = 20  # problems that are printed at once


def tensorboard(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Runs, or folders with runs below them.")],
    to: Annotated[Path, typer.Option("--out", metavar="DIR", help="The tree: a new folder, or one made before.")],
    group_by: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--group-by", metavar="KEY", help="Also reduce runs that share this setting (train.learning_rate); repeat."
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Look again until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=1.0, help="Seconds between two looks of --follow.")] = 10.0,
    serve: Annotated[bool, typer.Option("--serve", help="Start TensorBoard on the tree, on localhost.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of --serve; 0 takes a free one.")] = _PORT,
) -> None:
    """Writes one clean TensorBoard tree out of many runs, ours or anybody's event files; later calls add what is new.

    Restarts are stitched, ranks and groups reduced, the HParams page filled in. `biodist tensorboard runs --out board
    --group-by train.learning_rate`, then `tensorboard --logdir board`, or --serve. Exit 5 when some runs cannot be
    read, 3 when none can, 4 while another command writes the tree.
    """
    from biodist.aggregation.server import free_port, serving
    from biodist.aggregation.tree import Tree

    chosen = free_port(port) if serve else 0
    tree = Tree.prepare(to)
    with ExitStack() as stack:
        board = _Board(stack.enter_context(tree.writing()), tuple(paths), tuple(group_by or ()))
        if not (follow or serve):
            board.look()
            board.refuse_unread()
            return
        with _until_told_to_end():
            board.look(wait=follow)
            server = stack.enter_context(serving(tree.root, chosen)) if serve else None
            if server is not None:
                _say_where(chosen)
            while server is None or server.poll() is None:
                time.sleep(every)
                if follow:
                    board.look(wait=True)
            raise MachineCannot(f"TensorBoard ended with {server.returncode}; see what it says above")
    board.refuse_unread()


@dataclass
class _Board:
    """A tree, the runs it is of, and what was said of them."""

    writer: TreeWriter
    paths: tuple[Path, ...]
    keys: tuple[str, ...]
    last: Update | None = None
    said: set[Problem] = field(default_factory=set)

    def look(self, wait: bool = False) -> None:
        """Brings the tree up to date and says what changed. `wait`: folders without any run yet are no mistake."""
        from biodist.aggregation.runs import find_runs

        try:
            places = find_runs(self.paths)
        except UserError:
            if not wait or not all(path.is_dir() for path in self.paths):
                raise
            if self.last is None:
                err.print("no run yet: waiting for the first")
            return
        before, self.last = self.last, self.writer.update(places, self.keys)
        self._say(before is None)

    def _say(self, first: bool) -> None:
        update = self.last
        assert update is not None
        new = [problem for problem in update.problems if problem not in self.said]
        self.said.update(new)
        for problem in new[:_SHOWN]:
            err.print(f"passed over: {problem}")
        if len(new) > _SHOWN:
            err.print(f"passed over: {len(new) - _SHOWN:,} more like these")
        if first or update.written or update.grown or update.removed or new:
            out.print(_line(update, self.writer.root))

    def refuse_unread(self) -> None:
        """Raises RunFailed or SomeFailed when runs could not be read."""
        if self.last is not None and self.last.unreadable:
            kind = RunFailed if self.last.unreadable == self.last.runs else SomeFailed
            raise kind(f"{self.last.unreadable} of {self.last.runs} runs cannot be read; the others are in the tree")


def _line(update: Update, root: Path) -> str:
    counts = {"new or rewritten": update.written, "grown": update.grown, "unchanged": update.unchanged}
    parts = [f"{count:,} {what}" for what, count in counts.items() if count]
    parts += [f"{update.removed:,} gone"] if update.removed else []
    text = f"{update.runs:,} {'run' if update.runs == 1 else 'runs'} in {root} ({', '.join(parts)})"
    if update.groups:
        text += f"; {update.groups:,} {'group' if update.groups == 1 else 'groups'}"
    if update.dropped:
        text += f"; {update.dropped:,} points dropped that restarts overtook"
    if update.damaged:
        text += f"; {update.damaged:,} damaged records left out"
    return text


def _say_where(port: int) -> None:
    from biodist.aggregation.server import HOST, tunnel

    out.print(f"TensorBoard: http://{HOST}:{port}/  (Ctrl-C ends it)")
    out.print(f"from another machine: {tunnel(port)}")
    out.file.flush()


@contextmanager
def _until_told_to_end() -> Iterator[None]:
    """Ctrl-C or SIGTERM ends the block, and is how it is meant to end."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        out.file.flush()
    finally:
        signal.signal(signal.SIGTERM, before)
