"""The paths of a run, and which folders are refused."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biodist.errors import UserError
from biodist.run.folder import AttemptFolder, RunFolder, SeedsFolder, run_root, seeds_root

pytestmark = pytest.mark.timeout(60)


def test_paths_are_those_of_the_contract(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    attempt = run.new_attempt()
    inside = [
        *(run.recipe, run.provenance, run.lease, run.samples, run.metrics, run.tensorboard, run.model, run.result),
        run.checkpoint(500),
        *(attempt.plan, attempt.record, attempt.log(0), attempt.events(1), attempt.failure(2)),
    ]
    assert [str(path.relative_to(tmp_path)) for path in inside] == [
        *("recipe.yaml", "provenance.json", "lease.json", "samples.jsonl", "metrics.jsonl"),
        *("tensorboard", "model", "result.json", "checkpoints/step-00000500"),
        *("attempts/0001/plan.json", "attempts/0001/attempt.json", "attempts/0001/rank-0.log"),
        *("attempts/0001/events-rank-1.jsonl", "attempts/0001/failure-rank-2.json"),
    ]
    assert attempt.run == run


def test_default_folder_names_recipe_and_core() -> None:
    assert run_root("ncbi", "0123456789abcdef") == Path("runs/ncbi-01234567")
    assert seeds_root("ncbi.v1", "0123456789abcdef") == Path("runs/ncbi.v1-01234567-seeds")


def test_attempts_count_from_one_and_go_past_four_digits(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.attempts() == [] and run.next_number() == 1
    assert [run.new_attempt().number for _ in range(3)] == [1, 2, 3]
    (run.attempts_root / "notes").mkdir()
    (run.attempts_root / "9999").mkdir()
    assert run.new_attempt().root.name == "10000"
    assert [attempt.number for attempt in run.attempts()] == [1, 2, 3, 9999, 10000]


def test_attempts_made_at_once_are_all_different(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    made: list[int] = []
    threads = [
        threading.Thread(target=lambda: made.extend(run.new_attempt().number for _ in range(10))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(made) == list(range(1, 41))


def test_a_sensitive_run_is_its_owners_alone(tmp_path: Path) -> None:
    assert RunFolder.prepare(tmp_path / "a/b", sensitive=True).root.stat().st_mode & 0o777 == 0o700
    open_one = tmp_path / "open"
    open_one.mkdir(mode=0o755)
    RunFolder.prepare(open_one, sensitive=True)
    assert open_one.stat().st_mode & 0o777 == 0o700


def test_empty_folders_and_runs_are_taken(tmp_path: Path) -> None:
    run = RunFolder.prepare(tmp_path / "new")
    run.recipe.write_text("name: x")
    run.new_attempt()
    assert RunFolder.prepare(tmp_path / "new") == run


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("the user's own, in the folder they work in")
    with pytest.raises(UserError, match="is not empty and is not a run"):
        RunFolder.prepare(tmp_path)
    with pytest.raises(UserError, match=r"is a file, must be a folder.*--run"):
        RunFolder.prepare(tmp_path / "recipe.yaml")
    with pytest.raises(UserError, match=r"cannot be made: .*recipe\.yaml: File exists"):
        RunFolder.prepare(tmp_path / "recipe.yaml" / "below")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="leads nowhere"):
        RunFolder.prepare(tmp_path / "link")


@given(number=st.integers(min_value=1, max_value=10**7), rank=st.integers(min_value=0, max_value=10**4))
def test_an_attempts_paths_lie_in_it_and_differ(number: int, rank: int) -> None:
    attempt = AttemptFolder(Path("/r/attempts") / f"{number:04d}")
    paths = {attempt.log(rank), attempt.events(rank), attempt.failure(rank), attempt.plan, attempt.record}
    assert len(paths) == 5 and all(path.parent == attempt.root for path in paths)
    assert attempt.number == number and attempt.run.root == Path("/r")


def test_seeds_are_folders_by_their_number(tmp_path: Path) -> None:
    folder = SeedsFolder.prepare(tmp_path / "seeds", sensitive=True)
    assert folder.root.stat().st_mode & 0o777 == 0o700 and not folder.holds_seeds()
    for name in ("seed-42", "seed-9", "seed-007", "seed-", "seed-1x", "trial-3"):
        (folder.root / name).mkdir()
    (folder.root / "seed-43").touch()
    assert folder.seeds() == [9, 42]
    assert [run.root.name for run in folder.runs()] == ["seed-9", "seed-42"]
    assert folder.run(42).root.parent == folder.root and folder.summary == folder.root / "seeds.json"
    assert SeedsFolder.prepare(folder.root) == folder


def test_folders_that_hold_no_seeds_are_refused(tmp_path: Path) -> None:
    run, other, file, link = (tmp_path / name for name in ("run", "other", "file", "link"))
    run.mkdir()
    RunFolder(run).lease_lock.touch()
    other.mkdir()
    (other / "notes").touch()
    file.touch()
    link.symlink_to(tmp_path / "nowhere")
    for root, why in {run: "is one run", other: "holds no seeds", file: "is a file", link: "leads nowhere"}.items():
        with pytest.raises(UserError, match=why):
            SeedsFolder.prepare(root)
    assert SeedsFolder(tmp_path / "nowhere").seeds() == []
