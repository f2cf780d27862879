"""Whether a run that was struck is the run that was not: bits, samples, figures, and nothing left behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from biodist.checkpoint.reading import problems_of
from biodist.checkpoint.shards import file_digest
from biodist.metrics.samples import verify_chain
from biodist.metrics.stream import TIME_FIELDS
from biodist.run.durable import read_json_lines
from biodist.run.folder import RunFolder
from biodist.run.records import Result
from biodist.training.recorder import CHECKPOINT

WEIGHTS = "weights"
SAMPLES = "samples"
RESULT_TIMES = {"train_seconds", "tokens_per_second", "micro_batches"}


def differences(run: RunFolder, undisturbed: RunFolder) -> list[str]:
    """What is not as in the undisturbed run; the first word of each says where."""
    if not run.result.exists():
        return ["result: there is none"]
    own, other = Result.load(run.result), Result.load(undisturbed.result)
    found = []
    if own.weights_sha256 != other.weights_sha256:
        found.append(f"{WEIGHTS}: {own.weights_sha256}, must be {other.weights_sha256}")
    if own.model_dump(exclude=RESULT_TIMES) != other.model_dump(exclude=RESULT_TIMES):
        found.append("result: not equal, time apart")
    if file_digest(run.model / "model.safetensors") != file_digest(undisturbed.model / "model.safetensors"):
        found.append("model: not equal")
    if run.samples.read_bytes() != undisturbed.samples.read_bytes():
        found.append(f"{SAMPLES}: not identical")
    if broken := verify_chain(run.samples):
        found.append(f"{SAMPLES}: {broken}")
    if _figures(run) != _figures(undisturbed):
        found.append("metrics: not equal, time apart")
    found += [f"tensorboard: {what}" for what in _board_faults(run)]
    return found


def leftovers(run: RunFolder) -> list[str]:
    """Files and folders that only a dead process can have left."""
    staging = run.root.rglob(".staging-*")
    halves = (path for path in run.checkpoints.glob("step-*") if problems_of(path))
    hidden = (path for path in run.root.rglob(".*") if path.is_file())
    also = [path for path in (run.lease, *(a.rendezvous for a in run.attempts())) if path.exists()]
    return sorted({str(path.relative_to(run.root)) for path in (*staging, *halves, *hidden, *also)})


def _figures(run: RunFolder) -> list[dict[str, Any]]:
    lines = read_json_lines(run.metrics)
    return [
        {name: value for name, value in line.items() if name not in TIME_FIELDS}
        for line in lines
        if line["split"] != CHECKPOINT
    ]


def _board_faults(run: RunFolder) -> Iterator[str]:
    """Tags whose steps are not rising, each once, or not those of metrics.jsonl."""
    board = EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0})
    board.Reload()
    steps = Counter(f"{line['split']}" for line in read_json_lines(run.metrics))
    tags = board.Tags()["scalars"]
    if not tags:
        yield "no scalars"
    for tag in tags:
        found = [event.step for event in board.Scalars(tag)]
        if found != sorted(set(found)):
            yield f"{tag}: a step is there twice, or after a later one"
        if len(found) != steps[tag.partition("/")[0]]:
            yield f"{tag}: {len(found)} steps, metrics.jsonl has {steps[tag.partition('/')[0]]}"
