"""A checkpoint of any strategy and world size loads under any other: the state to the bit, the training to rounding.

Under the same strategy and world size the next steps are the same to the bit as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForTokenClassification

from biodist.checkpoint.reading import Checkpoint, checkpoints_in, problems_of
from biodist.plan.plan import Plan

pytestmark = pytest.mark.timeout(800)  # above the limits of three groups of processes
STRATEGIES = ("ddp", "zero1", "zero2", "zero3")
Pair = tuple[str, str]
PAIRS: tuple[Pair, ...] = tuple(product(STRATEGIES, STRATEGIES))
CHOSEN: tuple[Pair, ...] = (("zero2", "zero3"), ("zero3", "ddp"), ("zero3", "zero3"), ("ddp", "zero1"))  # far travels
AT, END = 6, 9  # the step a checkpoint is made at, in the second half of an epoch; the last step
DECAY = 0.5  # so strong that a parameter decayed in the wrong group is far off after three steps
LOST_SIGHT_OF = "key.bias"  # its gradient is rounding alone, and Adam makes steps of it

RunJobs = Callable[..., dict[str, Any]]
State = dict[tuple[str, str], np.ndarray]


def the_checkpoint(folder: Path) -> Checkpoint:
    """The only checkpoint of a folder, proven."""
    (found,) = checkpoints_in(folder)
    assert problems_of(found.folder) == []
    return found


def state_of(folder: Path) -> State:
    """Weights and moments of every parameter, whole."""
    checkpoint = the_checkpoint(folder)
    return {
        (part, name): np.concatenate(list(checkpoint.read(part, name, 0, parameter.count)))
        for name, parameter in checkpoint.manifest.parameters.items()
        for part in ("weight", "exp_avg", "exp_avg_sq")
    }


def assert_same_bits(one: State, other: State) -> None:
    assert one.keys() == other.keys()
    assert [key for key in one if one[key].tobytes() != other[key].tobytes()] == []


def assert_close(one: State, other: State) -> None:
    """Weights apart by rounding alone."""
    weights = [key for key in one if key[0] == "weight" and not key[1].endswith(LOST_SIGHT_OF)]
    far = {key[1]: float(np.abs(one[key] - other[key]).max()) for key in weights}
    assert {name: off for name, off in far.items() if off > 2e-4} == {}


def first_life(name: str, plan: Plan, root: Path) -> dict[str, Any]:
    """Trains to the end, saving on the way and there."""
    return {"name": name, "plan": plan, "until": END, "saves": saves(name, root)}


def next_life(name: str, plan: Plan, root: Path, of: str) -> dict[str, Any]:
    """Goes on from another's checkpoint, saving at once what it was given."""
    return {**first_life(name, plan, root), "load": str(root / f"{of}@{AT}")}


def saves(name: str, root: Path) -> dict[str, str]:
    return {str(step): str(root / f"{name}@{step}") for step in (AT, END)}


class Lives:
    """Checkpoints and words of several jobs."""

    def __init__(self, root: Path, said: dict[str, Any]):
        self.root, self._said = root, said
        assert {name: one["error"] for name, one in said.items() if one["error"]} == {}

    def state(self, name: str, step: int) -> State:
        return state_of(self.root / f"{name}@{step}")

    def sha256(self, name: str, step: int) -> str:
        return the_checkpoint(self.root / f"{name}@{step}").weights_sha256()

    def losses(self, name: str) -> list[float]:
        """Of the steps after the checkpoint."""
        return list(self._said[name]["losses"][AT - END :])

    def told(self, name: str) -> list[Any]:
        """Everything said of the steps after the checkpoint."""
        kinds = ("losses", "norms", "rates", "digests", "counts")
        return [self._said[name][kind][AT - END :] for kind in kinds]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def at_two(plans: Callable[..., Plan], run_jobs: RunJobs, root: Path) -> Lives:
    """Two processes, dropout on: every strategy's checkpoint under every strategy, and one pair in bf16."""

    def plan(strategy: str, **train: Any) -> Plan:
        return plans(2, strategy=strategy, dropout=0.1, weight_decay=DECAY, **train)

    jobs = [first_life(strategy, plan(strategy), root) for strategy in STRATEGIES]
    for job in jobs:
        (root / job["name"]).mkdir()
        job["logits"] = str(root / job["name"] / "logits.npz")
    jobs += [next_life(f"{one}-{other}", plan(other), root, of=one) for one, other in PAIRS]
    jobs.append(first_life("bf16", plan("zero2", precision="bf16"), root))
    jobs.append(next_life("bf16-bf16", plan("zero2", precision="bf16"), root, of="bf16"))
    jobs += Travels(plans, root, CHOSEN).at_two
    return Lives(root, run_jobs(jobs))


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_every_strategy_loads_every_other(at_two: Lives, one: str, other: str) -> None:
    assert_same_bits(at_two.state(one, AT), at_two.state(f"{one}-{other}", AT))
    assert at_two.losses(f"{one}-{other}") == pytest.approx(at_two.losses(one), rel=1e-4, abs=0)
    assert_close(at_two.state(one, END), at_two.state(f"{one}-{other}", END))


@pytest.mark.parametrize("name", [*STRATEGIES, "bf16"])
def test_the_same_strategy_goes_on_to_the_bit(at_two: Lives, name: str) -> None:
    assert at_two.told(f"{name}-{name}") == at_two.told(name)
    assert_same_bits(at_two.state(name, END), at_two.state(f"{name}-{name}", END))


def test_the_weights_digest_knows_no_strategy(at_two: Lives) -> None:
    digests = {one: {at_two.sha256(f"{one}-{other}", AT) for other in STRATEGIES} for one in STRATEGIES}
    assert digests == {one: {at_two.sha256(one, AT)} for one in STRATEGIES}
    assert at_two.sha256("ddp", AT) != at_two.sha256("ddp", END)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_exported_model_gives_the_engines_logits(at_two: Lives, strategy: str) -> None:
    """Each sequence alone through what `from_pretrained` loads, against the engine's unpadded row."""
    folder = at_two.root / strategy
    with np.load(folder / "logits.npz") as kept:
        logits, input_ids, lengths = kept["logits"][0], kept["input_ids"][0], kept["lengths"]
    model = AutoModelForTokenClassification.from_pretrained(folder / "model", local_files_only=True).eval()
    assert model.config.id2label == {0: "O", 1: "B-Disease", 2: "I-Disease"}
    ends = np.cumsum(lengths)
    with torch.no_grad():
        alone = [
            model(torch.from_numpy(input_ids[end - length : end])[None]).logits[0].numpy()
            for end, length in zip(ends, lengths, strict=True)
        ]
    assert len(alone) == 3
    np.testing.assert_allclose(np.concatenate(alone), logits, rtol=0, atol=2e-6)
    assert logits.std() > 0.05


def test_the_state_is_worth_comparing(at_two: Lives) -> None:
    """Moments that moved, and every strategy's training near the others': not zeros compared with zeros."""
    for strategy in STRATEGIES:
        state = at_two.state(strategy, AT)
        moved = [key for key, values in state.items() if key[0] != "weight" and values.any()]
        assert len(moved) > 0.9 * 2 / 3 * len(state)
        assert_close(at_two.state("ddp", AT), state)


@pytest.fixture(scope="module")
def at_three(plans: Callable[..., Plan], run_jobs: RunJobs, root: Path, at_two: Lives) -> Lives:
    """Three processes, dropout on: every strategy goes on from its own checkpoint. And from some of two processes."""
    own = {f"three-{s}": plans(3, strategy=s, dropout=0.1, weight_decay=DECAY) for s in STRATEGIES}
    jobs = [first_life(name, plan, root) for name, plan in own.items()]
    jobs += [next_life(f"{name}-again", plan, root, of=name) for name, plan in own.items()]
    return Lives(root, run_jobs(jobs + Travels(plans, root, CHOSEN).at_three))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_three_processes_go_on_to_the_bit(at_three: Lives, strategy: str) -> None:
    name = f"three-{strategy}"
    assert at_three.told(f"{name}-again") == at_three.told(name)
    assert_same_bits(at_three.state(name, END), at_three.state(f"{name}-again", END))


class Travels:
    """Jobs without dropout that carry each pair of strategies from two processes to three, and from three to one."""

    def __init__(self, plans: Callable[..., Plan], root: Path, pairs: Sequence[Pair]):
        def plan(world_size: int, strategy: str) -> Plan:
            return plans(world_size, strategy=strategy, weight_decay=DECAY)

        self.at_two = [first_life(f"2{one}", plan(2, one), root) for one in sorted({one for one, _ in pairs})]
        self.at_three = [next_life(f"2{one}-3{other}", plan(3, other), root, of=f"2{one}") for one, other in pairs]
        # On to one process from any checkpoint that three made under a pair's first strategy.
        maker = {other: f"2{one}-3{other}" for one, other in pairs}
        self.at_one = [
            next_life(f"{maker[one]}-1{other}", plan(1, other), root, of=maker[one])
            for one, other in pairs
            if one in maker
        ]

    def assert_arrived(self, two: Lives, three: Lives, one: Lives) -> None:
        """The state to the bit, losses and later weights to rounding."""
        for lives, job in [(three, job) for job in self.at_three] + [(one, job) for job in self.at_one]:
            name, first = job["name"], job["name"].split("-")[0]
            assert_same_bits(two.state(first, AT), lives.state(name, AT))
            assert lives.sha256(name, AT) == two.sha256(first, AT)
            assert lives.losses(name) == pytest.approx(two.losses(first), rel=1e-4, abs=0), name
            assert_close(two.state(first, END), lives.state(name, END))


def test_other_world_sizes_go_on(
    plans: Callable[..., Plan], run_jobs: RunJobs, root: Path, at_two: Lives, at_three: Lives
) -> None:
    travels = Travels(plans, root, CHOSEN)
    travels.assert_arrived(at_two, at_three, Lives(root, run_jobs(travels.at_one)))


@pytest.mark.full
def test_every_pair_goes_on_at_other_world_sizes(plans: Callable[..., Plan], run_jobs: RunJobs, tmp_path: Path) -> None:
    travels = Travels(plans, tmp_path, PAIRS)
    two, three, one = (
        Lives(tmp_path, run_jobs(jobs, limit_s=250)) for jobs in (travels.at_two, travels.at_three, travels.at_one)
    )
    travels.assert_arrived(two, three, one)
