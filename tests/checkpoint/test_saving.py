"""A checkpoint exists whole or not at all, and every rank hears of an error in any."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from biodist.checkpoint.fragments import Fragment, Outline, Share
from biodist.checkpoint.loading import newest_verified
from biodist.checkpoint.manifest import Manifest, ScalerState, read_manifest
from biodist.checkpoint.reading import problems_of
from biodist.checkpoint.saving import remove_checkpoint, remove_staging
from biodist.errors import MachineCannot, RunFailed
from biodist.plan.plan import Plan
from biodist.training.group import Control

FULL_DISK = Path(__file__).with_name("full_disk.py")


def test_what_is_published_verifies_and_nothing_else_is_left(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000010", "step-00000020"]
    names = {path.name for path in (folder / "step-00000010").iterdir()}
    assert names == {"MANIFEST.json", *(f"shard-0000{rank}-of-00003.safetensors" for rank in range(3))}
    assert problems_of(folder / "step-00000010") == []
    manifest = read_manifest(folder / "step-00000010")
    assert manifest is not None
    assert (manifest.step, manifest.world_size, manifest.strategy) == (10, 3, "ddp")
    assert manifest.bytes == sum(p.stat().st_size for p in (folder / "step-00000010").glob("shard-*"))


def test_every_rank_is_given_the_same_manifest(tools: Any, tmp_path: Path) -> None:
    one, *others = tools.save_all(tmp_path, 5)
    assert isinstance(one, Manifest) and others == [one, one]
    assert one == read_manifest(tmp_path / "step-00000005")


def test_a_proven_step_is_not_replaced(folder: Path, tools: Any) -> None:
    """The same step saved again, after a kill between a save and what follows it."""
    before = tools.tree(folder)
    said = tools.save_all(folder, 10, seed=999)
    assert all(isinstance(one, Manifest) for one in said)
    assert tools.tree(folder) == before


def test_a_damaged_step_is_replaced(folder: Path, tools: Any) -> None:
    sorted((folder / "step-00000010").glob("*.safetensors"))[2].write_bytes(b"")
    tools.save_all(folder, 10, seed=10)
    assert problems_of(folder / "step-00000010") == []


def test_who_lost_the_lease_publishes_nothing(folder: Path, tools: Any) -> None:
    before = tools.tree(folder)

    @contextmanager
    def refuse() -> Iterator[None]:
        raise MachineCannot("another attempt holds the run")
        yield

    first, *others = tools.save_all(folder, 30, publishing=refuse)
    assert isinstance(first, MachineCannot)
    for error in others:
        assert isinstance(error, RunFailed) and "another attempt holds the run" in str(error)
    assert tools.tree(folder) == before


def leave_out(rank: int, own: Iterator[Fragment]) -> Iterator[Fragment]:
    return (fragment for fragment in own if (rank, fragment.name) != (1, "embedding"))


def give_twice(rank: int, own: Iterator[Fragment]) -> Iterator[Fragment]:
    for fragment in own:
        yield fragment
        if rank == 2:
            yield Fragment(fragment.name, fragment.shape, 0, *(t.clone() for t in list(fragment.parts().values())))


@pytest.mark.parametrize(("change", "said"), [(leave_out, "gap"), (give_twice, "overlap")])
def test_a_state_that_is_not_whole_is_not_published(
    folder: Path, tools: Any, change: Callable[..., Iterator[Fragment]], said: str
) -> None:
    before = tools.tree(folder)
    for error in tools.save_all(folder, 30, fragments=change):
        assert isinstance(error, RunFailed)
        assert "do not make a whole checkpoint" in str(error) and said in str(error)
    assert tools.tree(folder) == before


def nobody_gives(rank: int, share: Share) -> Share:
    return replace(share, fragments=[fragment for fragment in share.fragments if fragment.name != "layer.bias"])


def nobody_gives_frozen(rank: int, share: Share) -> Share:
    return replace(share, fragments=[fragment for fragment in share.fragments if fragment.name != "table"])


def without_moments(rank: int, share: Share) -> Share:
    own = list(share.fragments)
    return replace(share, fragments=[Fragment(f.name, f.shape, f.start, f.weight) for f in own])


def another_shape(rank: int, share: Share) -> Share:
    own = [replace(f, shape=(5, 7)) if f.name == "layer.weight" else f for f in share.fragments]
    return replace(share, fragments=own)


def a_strangers(rank: int, share: Share) -> Share:
    return replace(share, fragments=[*share.fragments, *([Fragment("ghost", (2,), 0, torch.ones(2))] * (rank == 1))])


def another_model(rank: int, share: Share) -> Share:
    return replace(share, outlines={**share.outlines, **({"extra": Outline((2,))} if rank == 2 else {})})


def another_scale(rank: int, share: Share) -> Share:
    return replace(share, scaler=ScalerState(scale=2.0**rank, good_steps=0))


def another_buffer(rank: int, share: Share) -> Share:
    return replace(share, buffers={**share.buffers, "norm.count": torch.tensor(rank // 2)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (nobody_gives, "layer.bias: 0 of 7 elements"),
        (nobody_gives_frozen, "table: 0 of 36 elements"),
        (without_moments, "embedding: rank 0 gave a frozen (31, 3), the model has a trained (31, 3)"),
        (another_shape, "layer.weight: rank 2 gave a trained (5, 7), the model has a trained (7, 5)"),
        (a_strangers, "ghost: rank 1 gave a frozen (2,), the model has none"),
        (another_model, "extra: rank 2's model has another"),
        (another_scale, "loss scale: rank 1 has scale=2.0 good_steps=0 skipped=0, rank 0 scale=1.0"),
        (another_buffer, "buffer norm.count: rank 2 holds another"),
    ],
)
def test_what_is_not_the_whole_model_fails_the_save_by_name(
    folder: Path, tools: Any, change: Callable[[int, Share], Share], said: str
) -> None:
    """Sabotaged on the way; every rank hears the same, and nothing is published."""
    before = tools.tree(folder)
    errors = tools.save_all(folder, 30, change=change, strategy="zero2")
    assert all(isinstance(error, RunFailed) for error in errors)
    assert len({str(error) for error in errors}) == 1
    assert "the shards of step 30 do not make a whole checkpoint" in str(errors[0]) and said in str(errors[0])
    assert tools.tree(folder) == before


def test_under_ddp_rank_0s_buffers_are_everybodys(tmp_path: Path, tools: Any) -> None:
    said = tools.save_all(tmp_path, 30, change=another_buffer)
    assert all(isinstance(one, Manifest) for one in said)


def test_a_buffer_of_a_dtype_no_shard_holds_is_named(folder: Path, tools: Any) -> None:
    def change(rank: int, share: Share) -> Share:
        return replace(share, buffers={"phase": torch.zeros(2, dtype=torch.complex64)})

    for error in tools.save_all(folder, 30, change=change):
        assert isinstance(error, RunFailed) and "the buffer phase is torch.complex64" in str(error)


def out_of_memory(rank: int, own: Iterator[Fragment]) -> Iterator[Fragment]:
    for fragment in own:
        if rank == 1:
            raise torch.OutOfMemoryError("no room for the moments")
        yield fragment


def test_any_error_of_one_rank_reaches_all(folder: Path, tools: Any) -> None:
    before = tools.tree(folder)
    for error in tools.save_all(folder, 30, fragments=out_of_memory):
        assert isinstance(error, RunFailed)
        assert "rank 1: OutOfMemoryError: no room for the moments" in str(error)
    assert tools.tree(folder) == before


@pytest.mark.timeout(120)
def test_a_rank_that_cannot_write_fails_all_and_publishes_nothing(
    plans: Callable[..., Plan], group: Callable[[], Any], tmp_path: Path
) -> None:
    """Real processes; the system refuses what one of them writes after its first 64 kB."""
    plan = plans(3)
    argument = {"plan": plan.model_dump(mode="json"), "checkpoints": str(tmp_path / "checkpoints")}
    said = group().run(FULL_DISK, plan, argument, limit_s=100)
    for rank in said:
        assert rank["before"] == "published"
        assert rank["full"].startswith("RunFailed: the checkpoint of step 2 could not be written to ")
        assert "rank 1: File too large" in rank["full"] and "earlier ones are untouched" in rank["full"]
        assert rank["left"] == ["step-00000001"]
        assert rank["after"] == "published"
    found = newest_verified(tmp_path / "checkpoints", Control(0, 1, None))
    assert found.checkpoint is not None and found.checkpoint.step == 3 and found.passed_over == ()
    assert problems_of(tmp_path / "checkpoints" / "step-00000001") == []


def test_the_manifest_goes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the middle, what is left is no checkpoint."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove_checkpoint(folder / "step-00000020")
    assert len(list((folder / "step-00000020").glob("shard-*"))) == 3
    assert read_manifest(folder / "step-00000020") is None
    found = newest_verified(folder, Control(0, 1, None))
    assert found.checkpoint is not None and found.checkpoint.step == 10
    remove_checkpoint(folder / "step-00000020")
    assert not (folder / "step-00000020").exists()


def test_staging_of_dead_attempts_is_removed(folder: Path, tools: Any) -> None:
    before = tools.tree(folder)
    for name in (".staging-0001-step-00000030", ".staging-0002-step-00000040"):
        (folder / name).mkdir()
        (folder / name / "shard-00000-of-00003.safetensors").write_bytes(b"half")
    assert remove_staging(folder) == [".staging-0001-step-00000030", ".staging-0002-step-00000040"]
    assert tools.tree(folder) == before
    assert remove_staging(folder) == [] == remove_staging(folder / "nowhere")


def test_staging_left_by_a_kill_is_started_anew(folder: Path, tools: Any) -> None:
    staging = folder / ".staging-0001-step-00000030"
    staging.mkdir()
    (staging / "shard-00007-of-00009.safetensors").write_bytes(b"of another world size")
    tools.save_all(folder, 30)
    assert problems_of(folder / "step-00000030") == []
    assert len(list((folder / "step-00000030").iterdir())) == 4
    assert not staging.exists()


def test_the_manifest_holds_no_text_but_names_and_digests(folder: Path) -> None:
    manifest = json.loads((folder / "step-00000010" / "MANIFEST.json").read_text())
    assert set(manifest) == {
        *("version", "step", "attempt", "world_size", "strategy", "cursor", "core_digest"),
        *("data_fingerprint", "files", "parameters", "buffers", "scaler", "sha256"),
    }
    assert manifest["scaler"] == {"scale": 1024.0, "good_steps": 10}
    assert manifest["buffers"] == {
        "norm.count": {"file": "shard-00000-of-00003.safetensors", "dtype": "I64", "shape": []},
        "norm.mean": {"file": "shard-00000-of-00003.safetensors", "dtype": "BF16", "shape": [2, 3]},
        "seen": {"file": "shard-00000-of-00003.safetensors", "dtype": "BOOL", "shape": [5]},
    }
    assert [name for name, pieces in manifest["parameters"].items() if pieces.get("frozen")] == ["table"]


def test_what_a_run_does_not_have_is_not_in_its_manifest(tmp_path: Path, tools: Any) -> None:
    def bare(rank: int, share: Share) -> Share:
        own = [fragment for fragment in share.fragments if not fragment.frozen]
        outlines = {name: outline for name, outline in share.outlines.items() if not outline.frozen}
        return Share(outlines, own)

    tools.save_all(tmp_path, 1, change=bare)
    manifest = json.loads((tmp_path / "step-00000001" / "MANIFEST.json").read_text())
    assert "buffers" not in manifest and "scaler" not in manifest and manifest["version"] == 1
    assert {key for pieces in manifest["parameters"].values() for key in pieces} == {"shape", "pieces"}
    assert problems_of(tmp_path / "step-00000001") == []
