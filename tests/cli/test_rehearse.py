"""``--rehearse``: good where a kill changes nothing, and not to be fooled where it does."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from campaign.sabotage import change_moment
from campaign.traps import Trap, environment

from biodist.checkpoint.manifest import NAME
from biodist.checkpoint.reading import checkpoints_in
from biodist.run.folder import RunFolder

pytestmark = pytest.mark.timeout(280)
STEPS, KILL_STEP = 8, 5


def arguments(run: str, *overrides: str, nproc: int = 2) -> tuple[str, ...]:
    return ("train", "tiny.yaml", *overrides, "--rehearse", "--run", run, "--nproc", str(nproc), "--device", "cpu")


def outcome(attempt: Path) -> str:
    record = attempt / "attempt.json"
    return str(json.loads(record.read_text())["outcome"]) if record.exists() else ""


@pytest.fixture(scope="module")
def struck(terminal: Any) -> Path:
    """A rehearsal whose command was killed between its kill and its resume: nobody has gone on with it yet."""
    started = terminal.start("struck", 2, "--rehearse")
    folder: Path = terminal.folder / "struck-rehearsal"
    attempts = folder / "disturbed" / "attempts"
    started.wait_for(lambda: outcome(attempts / "0001") == "failed", "the kill")
    started.process.kill()
    started.process.communicate(timeout=30)
    second = attempts / "0002" / "events-rank-0.jsonl"
    assert not second.exists() or '"step"' not in second.read_text(), "it had gone on already"
    return folder


@pytest.fixture
def copy(struck: Path, request: pytest.FixtureRequest) -> Path:
    """That rehearsal, for one test to spoil; of a run named as the test's parameter."""
    there = struck.with_name(f"{request.node.callspec.id if hasattr(request.node, 'callspec') else 'sound'}-rehearsal")
    shutil.copytree(struck, there)
    return there


def gone_on(terminal: Any, copy: Path) -> tuple[Any, dict[str, Any]]:
    """The same command again, and its verdict."""
    said = terminal.run(*arguments(copy.name.removesuffix("-rehearsal")))
    assert "going on with the rehearsal" in said.err, said.text
    verdict: dict[str, Any] = json.loads((copy / "rehearsal.json").read_text())
    return said, verdict


def test_it_goes_on_and_is_good(terminal: Any, copy: Path) -> None:
    said, verdict = gone_on(terminal, copy)
    assert said.code == 0, said.text
    assert [check["name"] for check in verdict["checks"]] == ["killed", "weights", "samples", "scores", "checkpoints"]
    assert verdict["good"] and all(check["good"] for check in verdict["checks"])
    assert (verdict["steps"], verdict["killed_after_step"], verdict["world_size"]) == (STEPS, KILL_STEP, 2)
    assert verdict["projection"]["steps"] == 120 and verdict["projection"]["jobs"] is None
    assert all(value is not None and value > 0 for value in verdict["seconds"].values())
    assert "verdict: good" in said.out and verdict["command"][:3] == ["biodist", "train", "tiny.yaml"]
    assert [path.name for path in copy.iterdir()] == ["rehearsal.json"], "the runs are removed"


def test_one_process_and_a_sensitive_corpus(desk: Any) -> None:
    said = desk.run(*arguments("own", "data.sensitive=true", nproc=1), "--keep")
    assert said.code == 0, said.text
    folder = desk.folder / "own-rehearsal"
    assert "rank 0 was killed after step 5, as planned" in said.err
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not (desk.folder / "own").exists(), "the run itself was not begun"
    attempts = RunFolder(folder / "disturbed").attempts()
    assert [outcome(attempt.root) for attempt in attempts] == ["failed", "finished"]
    steps = [json.loads(line)["step"] for line in (folder / "disturbed" / "samples.jsonl").read_text().splitlines()]
    assert steps == list(range(1, STEPS + 1))


# ---- what is broken on purpose


def other_number(copy: Path) -> None:
    """One bit of the checkpoint that is gone on from, its digests made to fit."""
    change_moment(checkpoints_in(copy / "disturbed" / "checkpoints")[-1])


def skipped_step(copy: Path) -> None:
    """The checkpoint says that it is of the next step: the samples of that one never reach its weights."""
    newest = checkpoints_in(copy / "disturbed" / "checkpoints")[-1]
    step = newest.step + 1
    signed = newest.manifest.model_copy(update={"step": step}).signed()
    (newest.folder / NAME).write_text(signed.model_dump_json())
    newest.folder.rename(RunFolder(copy / "disturbed").checkpoint(step))


def repeated_step(copy: Path) -> None:
    """The newest checkpoint says that it is of the step before: the samples of that one reach its weights twice."""
    newest = checkpoints_in(copy / "disturbed" / "checkpoints")[-1]
    step = newest.step - 1
    shutil.rmtree(RunFolder(copy / "disturbed").checkpoint(step), ignore_errors=True)
    signed = newest.manifest.model_copy(update={"step": step}).signed()
    (newest.folder / NAME).write_text(signed.model_dump_json())
    newest.folder.rename(RunFolder(copy / "disturbed").checkpoint(step))


def other_samples(copy: Path) -> None:
    """The killed attempt's own record says that its second step had the samples of the third."""
    events = copy / "disturbed" / "attempts" / "0001" / "events-rank-0.jsonl"
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    steps[1]["digest"] = steps[2]["digest"]
    events.write_text("".join(json.dumps(line) + "\n" for line in lines))


SABOTAGES: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "other-number": (other_number, {"weights", "scores"}),
    "skipped-step": (skipped_step, {"weights", "scores"}),
    "repeated-step": (repeated_step, {"weights", "scores"}),
    "other-samples": (other_samples, {"samples"}),
}


@pytest.mark.parametrize("how", SABOTAGES, ids=str)
def test_a_broken_resume_is_found_out(terminal: Any, copy: Path, how: str) -> None:
    spoil, found = SABOTAGES[how]
    spoil(copy)
    said, verdict = gone_on(terminal, copy)
    assert said.code == 5, said.text
    bad = {check["name"] for check in verdict["checks"] if not check["good"]}
    assert bad == found and not verdict["good"]
    assert "verdict: BAD" in said.out and (copy / "disturbed" / "result.json").exists(), "the runs are kept"


def test_a_resume_without_seeds_is_found_out(terminal: Any, struck: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree(struck, struck.with_name("unseeded-rehearsal"))
    traps = [Trap("biodist.training.steps", "seed_step", "", 0, rank, "", "", skips=True) for rank in range(2)]
    for name in ("PYTHONPATH", "CAMPAIGN_TRAPS"):
        monkeypatch.setenv(name, environment({}, traps)[name])
    said, verdict = gone_on(terminal, Path(copy))
    assert said.code == 5 and "weights" in {check["name"] for check in verdict["checks"] if not check["good"]}


# ---- what is refused


def test_keep_without_a_rehearsal(desk: Any) -> None:
    said = desk.run("train", "tiny.yaml", "--keep")
    assert said.code == 2 and "--keep" in said.err and "--rehearse" in said.err


def test_a_folder_that_holds_something_else(desk: Any) -> None:
    mine = desk.folder / "own-rehearsal" / "thesis.tex"
    mine.parent.mkdir()
    mine.write_text("years")
    said = desk.run(*arguments("own"))
    assert said.code == 2 and "thesis.tex" in said.err and mine.read_text() == "years"
