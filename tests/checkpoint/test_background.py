"""A snapshot holds the state of its instant; one save runs beside the loop, and its failure is heard."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from biodist.checkpoint.background import BackgroundSave, Snapshot
from biodist.checkpoint.manifest import Manifest
from biodist.checkpoint.reading import open_checkpoint, problems_of
from biodist.checkpoint.saving import save
from biodist.errors import RunFailed
from biodist.training.group import Control

ALONE = Control(0, 1, None)
WAIT_S = 20


def values(fragments: Any) -> dict[tuple[str, int, str], bytes]:
    return {(f.name, f.start, part): t.numpy().tobytes() for f in fragments for part, t in f.parts().items()}


def disturb(state: Any) -> None:
    """What a training step does to the state."""
    with torch.no_grad():
        for fragment in state.held():
            for tensor in fragment.parts().values():
                tensor.add_(1.0)


@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (0, 3), (2, 3)])
def test_a_snapshot_keeps_what_was_owned(tools: Any, rank: int, world_size: int) -> None:
    state = tools.state_of(7, rank, world_size)
    owned = values(f for f in state.owned())
    taken = Snapshot().take(state.share())
    disturb(state)
    assert values(taken.fragments) == owned != values(f for f in state.owned())
    assert [(f.name, f.shape, f.start) for f in taken.fragments] == [(f.name, f.shape, f.start) for f in state.owned()]


def test_the_next_snapshot_takes_no_new_memory(tools: Any) -> None:
    state, snapshot = tools.state_of(7), Snapshot()
    first = [t.data_ptr() for f in snapshot.take(state.share()).fragments for t in f.parts().values()]
    disturb(state)
    second = snapshot.take(state.share())
    assert [t.data_ptr() for f in second.fragments for t in f.parts().values()] == first
    assert values(second.fragments) == values(f for f in state.owned())


def test_training_goes_on_while_a_save_runs(tmp_path: Path, tools: Any) -> None:
    """The writer is held until the state was changed under it: what is published is the state of the snapshot."""
    state, background, may_write = tools.state_of(7), BackgroundSave(), threading.Event()
    taken = Snapshot().take(state.share())

    def work() -> Manifest:
        assert may_write.wait(WAIT_S)
        return save(tmp_path, tools.moment(10), taken, ALONE)

    background.start(work)
    disturb(state)
    may_write.set()
    saved = background.wait()
    assert saved is not None and saved.manifest.step == 10 and saved.seconds > 0
    checkpoint = open_checkpoint(tmp_path / "step-00000010")
    assert checkpoint is not None and problems_of(checkpoint.folder) == []
    for fragment in tools.state_of(7).held():
        for part, tensor in fragment.parts().items():
            (found,) = checkpoint.read(part, fragment.name, 0, fragment.count)
            assert found.tobytes() == tensor.detach().numpy().tobytes(), (fragment.name, part)


def test_nothing_is_waited_for_where_nothing_was_begun() -> None:
    assert BackgroundSave().wait() is None


def test_a_save_is_told_of_once(tmp_path: Path, tools: Any) -> None:
    background = BackgroundSave()
    for step in (10, 20):
        background.start(lambda step=step: save(tmp_path, tools.moment(step), tools.state_of(7).share(), ALONE))  # type: ignore[misc]
        saved = background.wait()
        assert saved is not None and saved.manifest.step == step
        assert background.wait() is None


def test_a_failed_save_is_raised_by_the_next_wait(tmp_path: Path, tools: Any) -> None:
    """And by no later one: the save after it begins anew."""
    background = BackgroundSave()
    (tmp_path / "file").write_text("no folder")

    def work(folder: Path) -> Manifest:
        return save(folder, tools.moment(10), tools.state_of(7).share(), ALONE)

    background.start(lambda: work(tmp_path / "file"))
    with pytest.raises(RunFailed, match="the checkpoint was not published"):
        background.wait()
    assert background.wait() is None
    background.start(lambda: work(tmp_path / "folder"))
    saved = background.wait()
    assert saved is not None and problems_of(tmp_path / "folder" / "step-00000010") == []


def test_a_second_save_does_not_start_beside_the_first(tools: Any, tmp_path: Path) -> None:
    background, may_write = BackgroundSave(), threading.Event()

    def work() -> Manifest:
        assert may_write.wait(WAIT_S)
        return save(tmp_path, tools.moment(10), tools.state_of(7).share(), ALONE)

    background.start(work)
    with pytest.raises(AssertionError):
        background.start(work)
    may_write.set()
    assert background.wait() is not None


def test_ranks_save_together_beside_their_loops(tmp_path: Path, tools: Any) -> None:
    """Three ranks, each with a writer of its own; the loops wait for nobody until they settle."""

    def act(ranks: Any) -> Manifest | None:
        state, background, snapshot = tools.state_of(7, ranks.rank, 3), BackgroundSave(), Snapshot()
        taken = snapshot.take(state.share())
        background.start(lambda: save(tmp_path, tools.moment(10), taken, ranks))
        disturb(state)
        saved = background.wait()
        return saved.manifest if saved else None

    first, *others = tools.together(3, act)
    assert isinstance(first, Manifest) and others == [first, first]
    assert problems_of(tmp_path / "step-00000010") == []
