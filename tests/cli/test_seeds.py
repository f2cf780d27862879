"""`--seeds`: real runs of a tiny recipe, killed, stopped and extended; each ends as the run of its seed alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from campaign.ground import launched
from campaign.strike import wait_for
from campaign.traps import Trap, environment, moment

from biodist.run.folder import RunFolder
from biodist.run.lease import Lease

pytestmark = pytest.mark.timeout(600)
DDP = "distributed.strategy=ddp"
PROBE = """
import sys
from biodist.cli.app import app
from biodist.errors import SomeFailed
try:
    app(sys.argv[1:], standalone_mode=False)
except SomeFailed:
    print("torch" in sys.modules)
"""


@dataclass(frozen=True)
class Story:
    """One folder of seeds over three commands, and what was said of it."""

    root: Path
    untouched: bool  # seed 42, by all that came after its end
    failed: Any  # --seeds 3, after the launcher was killed in seed 43: a rank of it is killed, seed 44 goes on
    stopped: Any  # --seeds 5: seed 43 finishes, the folder is cancelled in seed 45
    cancelled: Any  # what that said
    listed: Any  # `status` of the folder after that
    partly: Any  # `seeds` of the folder after that


def told(root: Path, seed: int) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((root / f"seed-{seed}" / "result.json").read_text())
    return result


def in_seed(started: Any, root: Path, seed: int, attempt: int, step: int, tools: Any) -> Path:
    """The attempt of a seed, once it has made a step."""
    folder = root / f"seed-{seed}" / "attempts" / f"{attempt:04d}"
    events = folder / "events-rank-0.jsonl"
    started.wait_for(lambda: tools.last_step(events) >= step, f"step {step} of seed {seed}")
    return folder


@pytest.fixture(scope="module")
def story(terminal: Any, tools: Any) -> Story:
    root = terminal.folder / "several"
    started = terminal.start(root.name, 2, "--seeds", "3", DDP)
    in_seed(started, root, 43, 1, 15, tools)
    first = tools.tree(root / "seed-42")
    started.process.kill()
    started.process.communicate(timeout=30)

    started = terminal.start(root.name, 2, "--seeds", "3", DDP)
    attempt = in_seed(started, root, 43, 2, 25, tools)
    os.kill(tools.workers_of(attempt, 2)[1], signal.SIGKILL)
    failed = started.said()

    started = terminal.start(root.name, 2, "--seeds", "5", DDP)
    in_seed(started, root, 45, 1, 15, tools)
    cancelled = terminal.run("cancel", root.name)
    stopped = started.said()
    listed, partly = terminal.run("status", root.name), terminal.run("seeds", root.name)
    return Story(root, tools.tree(root / "seed-42") == first, failed, stopped, cancelled, listed, partly)


def test_a_seed_is_the_run_of_that_seed_alone(story: Story, undisturbed: Callable[..., Any], tools: Any) -> None:
    assert tools.proof(story.root / "seed-42") == tools.proof(undisturbed("ddp", 2).run)
    assert len({told(story.root, seed)["weights_sha256"] for seed in (42, 43, 44)}) == 3


def test_a_kill_costs_the_seed_it_hits_alone(story: Story) -> None:
    assert story.untouched, "seed 42 was finished, and was written again"
    assert "seed 43: 1 of 2 that are left" in story.failed.err
    assert [len(list((story.root / f"seed-{s}" / "attempts").iterdir())) for s in (42, 43, 44)] == [1, 3, 1]


def test_a_failed_seed_does_not_stop_the_others(story: Story) -> None:
    assert story.failed.code == 5, story.failed.text
    assert f"seed 43 in {story.root / 'seed-43'} failed" in story.failed.err
    assert "rank 1 failed first" in story.failed.err and "seed 44: finished" in story.failed.err
    assert "2 seeds (42, 44)" in story.failed.out and "not counted: seed 43 (failed)" in story.failed.out


def test_a_signal_saves_and_no_further_seed_begins(story: Story) -> None:
    assert story.cancelled.code == 0 and "several/seed-45: ended; saved at step" in story.cancelled.out
    assert story.cancelled.out.count("go on with") == 1, "the other seeds had nothing to end"
    assert story.stopped.code == 75, story.stopped.text
    assert "seed 43: finished" in story.stopped.err and "no further seed begins" in story.stopped.err
    record = json.loads((story.root / "seed-45" / "attempts" / "0001" / "attempt.json").read_text())
    assert record["outcome"] == "stopped" and record["stopped_by"] == "SIGTERM"
    assert not (story.root / "seed-46" / "attempts").exists()


def test_the_folder_tells_how_all_stand(story: Story) -> None:
    assert story.listed.code == 0, story.listed.text
    states = {line.split()[0]: line.split()[1] for line in story.listed.out.splitlines()}
    finished = {f"several/seed-{seed}": "finished" for seed in (42, 43, 44)}
    assert states == {**finished, "several/seed-45": "stopped", "several/seed-46": "new"}
    assert story.partly.code == 5, story.partly.text
    assert "not counted: seed 45 (stopped), seed 46 (unfinished)" in story.partly.out


def test_the_table_has_mean_deviation_and_interval(story: Story) -> None:
    f1 = [told(story.root, seed)["metrics"]["test"]["f1"] for seed in (42, 43, 44)]
    line = next(line for line in story.partly.out.partition("on test")[2].splitlines() if " f1 " in line)
    assert f"{fmean(f1):.4f} ± {stdev(f1):.4f}" in line
    half = 4.302653 * stdev(f1) / 3**0.5  # t of two degrees of freedom
    assert f"{fmean(f1) - half:.4f} to {fmean(f1) + half:.4f}" in line
    assert "tiny on test: 3 seeds (42 to 44)" in story.partly.out
    assert "n - 1" in story.partly.out and "Student's t" in story.partly.out


def test_the_summary_is_made_of_the_runs_alone(story: Story, terminal: Any) -> None:
    kept = (story.root / "seeds.json").read_text()
    (story.root / "seeds.json").unlink()
    said = terminal.run("seeds", story.root.name, "--json")
    assert said.code == 5, said.text
    assert json.loads(said.out) == json.loads(kept) == json.loads((story.root / "seeds.json").read_text())
    scores = {(one["split"], one["score"], one["label"]): one for one in json.loads(kept)["scores"]}
    of_type = scores["test", "f1", "Disease"]
    assert of_type["n"] == 3 and of_type["values"] == {
        str(seed): told(story.root, seed)["metrics"]["test"]["types"]["Disease"]["f1"] for seed in (42, 43, 44)
    }


def test_finished_seeds_are_left_as_they_are(story: Story, terminal: Any, tools: Any) -> None:
    before = {seed: tools.tree(story.root / f"seed-{seed}") for seed in (42, 43, 44)}
    said = terminal.train(story.root.name, 2, "--seeds", "3", DDP)
    assert said.code == 0 and "nothing to do" in said.err, said.text
    assert {seed: tools.tree(story.root / f"seed-{seed}") for seed in before} == before


def test_other_commands_on_the_folder(story: Story, terminal: Any) -> None:
    for command in ("logs", "resume"):
        said = terminal.run(command, story.root.name)
        assert said.code == 2 and "Traceback" not in said.err, said.text
    assert "holds 5 seeds of a recipe" in terminal.run("logs", story.root.name).err
    cancelled = terminal.run("cancel", story.root.name)
    assert cancelled.code == 0 and "no seed is under way" in cancelled.out, cancelled.text


@pytest.fixture
def copied(story: Story, desk: Any) -> Path:
    """The finished seeds in a folder of the test's own, to be tampered with."""
    root: Path = desk.folder / "several"
    shutil.copytree(story.root, root)
    return root


def test_a_seed_counted_twice_is_refused(copied: Path, desk: Any) -> None:
    shutil.copytree(copied / "seed-43", copied / "seed-47")
    said = desk.run("seeds", copied.name)
    assert said.code == 2 and "named for seed 47" in said.err and "very weights of seed 43" in said.err, said.text


def test_a_run_of_another_recipe_is_refused_before_anything_is_trained(copied: Path, terminal: Any, tools: Any) -> None:
    recipe = copied / "seed-44" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("dropout: 0.1", "dropout: 0.2"))
    before = tools.tree(copied)
    for said in (terminal.run("seeds", str(copied)), terminal.train(str(copied), 2, "--seeds", "9", DDP)):
        assert said.code == 2 and "1 problem" in said.err, said.text
        assert "seed-44" in said.err and "model.dropout: 0.1 and 0.2" in said.err, said.text
    assert tools.tree(copied) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--seeds", "0"), "--seeds"),
        (("--seeds", "2", "train.seed=4294967295"), "largest seed is 4294967295"),
        (("--seeds", "2", "--rehearse"), "not for a rehearsal"),
        (("--seeds", "2", "train.epocs=3"), "train.epochs"),
    ],
    ids=["none", "too large", "rehearsal", "recipe"],
)
def test_wrong_input_writes_nothing(desk: Any, tools: Any, arguments: tuple[str, ...], says: str) -> None:
    before = tools.tree(desk.folder)
    said = desk.train("several", 1, *arguments)
    assert said.code == 2 and says in said.err, said.text
    assert tools.tree(desk.folder) == before


def test_a_wrong_corpus_makes_no_folder(desk: Any) -> None:
    (desk.folder / "train.tsv").write_text("gout\tB-Drug\n\n")
    said = desk.train("several", 1, "--seeds", "3")
    assert said.code == 2 and "train.tsv:1" in said.err, said.text
    assert not (desk.folder / "several").exists()


def test_a_request_that_finds_a_seed_done_is_for_the_next_one(desk: Any) -> None:
    """The signal comes while the first seed, which has nothing left to stop, writes its result."""
    at = moment("result")
    trap = Trap(at.module, at.function, at.having, 1, 0, *(str(desk.folder / name) for name in ("reached", "release")))
    outer = {**os.environ, "BIODIST_CACHE": str(desk.cache), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "biodist.cli", *("train", "tiny.yaml", "--seeds", "2", "--run", "several")]
    command += ["train.max_steps=3", "--nproc", "1", "--device", "cpu"]
    log = desk.folder / "said"
    with launched(command, desk.folder, environment(outer, [trap]), log) as launcher:
        assert wait_for(lambda: trap.holds is not None or launcher.poll() is not None)
        launcher.send_signal(signal.SIGTERM)
        assert wait_for(lambda: "stopping after this step" in log.read_text(), 30), log.read_text()
        trap.let_go()
        assert launcher.wait(120) == 75, log.read_text()
    assert told(desk.folder / "several", 42)["status"] == "finished", log.read_text()
    assert "no further seed begins" in log.read_text()
    assert not (desk.folder / "several" / "seed-43" / "attempts").exists()


def test_all_that_fail_are_a_failure(desk: Any) -> None:
    said = desk.train("several", 1, "--seeds", "2", "train.learning_rate=1e30", "train.max_grad_norm=0")
    assert said.code == 3, said.text
    assert said.err.count("not a number") >= 2 and "seed 43: 2 of 2 that are left" in said.err
    shown = desk.run("seeds", "several")
    assert shown.code == 3 and "seed 42 is failed, seed 43 is failed" in shown.err, shown.text


def test_another_writer_stops_it_before_it_begins(desk: Any) -> None:
    held = RunFolder.prepare(desk.folder / "several" / "seed-43")
    with Lease.acquire(held):
        said = desk.train("several", 1, "--seeds", "3")
    assert said.code == 4 and f"process {os.getpid()}" in said.err, said.text
    assert not list((desk.folder / "several").glob("seed-*/attempts/*"))


def test_room_for_all_seeds_is_looked_for_first(desk: Any) -> None:
    """Ten million checkpoints of half a megabyte."""
    many = ("train.max_steps=10000000", "checkpoint.every_steps=1", "checkpoint.keep_last=10000000")
    said = desk.train("several", 1, "--seeds", "3", *many)
    assert said.code == 4 and "3 seeds need" in said.err, said.text
    assert not (desk.folder / "several").exists()


def test_a_run_is_no_folder_of_seeds(undisturbed: Callable[..., Any], terminal: Any) -> None:
    run = undisturbed("ddp", 2).run
    said = terminal.train(run.name, 2, "--seeds", "2", DDP)
    assert said.code == 2 and "is one run" in said.err, said.text
    assert terminal.run("seeds", run.name).code == 2


def test_a_table_needs_no_torch(story: Story, terminal: Any) -> None:
    said = terminal.run("seeds", story.root.name, program=("-c", PROBE))
    assert said.out.splitlines()[-1] == "False", said.text
