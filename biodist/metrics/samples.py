"""samples.jsonl: which samples each step trained on, each line chained to the one before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from biodist.errors import Problem
from biodist.metrics.events import StepEvent
from biodist.metrics.growing_file import json_line

_FIELDS = ("step", "epoch", "count", "digest", "chain")


def samples_digest(ids: Iterable[str]) -> str:
    """SHA-256 (hex) of the sorted ids, joined by newlines: the same whichever rank saw which sample."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


class SampleChain:
    """Makes the lines of samples.jsonl. The chain before the first line is the empty string."""

    def __init__(self) -> None:
        self.chain = ""

    def line(self, event: StepEvent) -> bytes:
        body = {"step": event.step, "epoch": event.epoch, "count": event.count, "digest": event.digest}
        self.chain = _link(self.chain, body)
        return json_line({**body, "chain": self.chain})


def verify_chain(path: Path) -> Problem | None:
    """The first bad line of a samples.jsonl, or None: fields, steps from 1 without a gap, every link of the chain."""
    if not path.exists():
        return Problem(str(path), "there is no such file", "name the samples.jsonl of a run")
    chain = ""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            problem = _fault(raw, number, chain)
            if problem:
                return Problem(f"{path}:{number}", problem, "the lines from here on prove nothing")
            chain = json.loads(raw)["chain"]
    return None


def _link(before: str, body: dict[str, Any]) -> str:
    """SHA-256 (hex) over the previous chain, a newline and the line without `chain`, keys sorted, no spaces."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{before}\n{canonical}".encode()).hexdigest()


def _fault(raw: bytes, number: int, before: str) -> str:
    try:
        line: Any = json.loads(raw)
    except ValueError:
        return "the line is not JSON"
    if not raw.endswith(b"\n"):
        return "the line is torn"
    if not isinstance(line, dict) or tuple(line) != _FIELDS:
        return f"the line must have exactly the fields {', '.join(_FIELDS)}, in this order"
    if line["step"] != number:
        return f"the step must be {number}, but is {line['step']!r}"
    body = {name: line[name] for name in _FIELDS if name != "chain"}
    if line["chain"] != _link(before, body):
        return "the chain does not match the line and the lines before it"
    return ""
