"""What a person sees of an attempt."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from biodist.plan.plan import Plan
from biodist.run.folder import AttemptFolder
from launch.progress import EventTail, RunProgress, Standing, duration

pytestmark = pytest.mark.timeout(60)


def step(number: int, **more: Any) -> dict[str, Any]:
    return {
        **{"time": 0.0, "kind": "step", "step": number, "loss": 1 / number, "learning_rate": 2e-5},
        **{"tokens": 600, "seconds": 0.5, **more},
    }


def write(attempt: AttemptFolder, *events: dict[str, Any]) -> None:
    with attempt.events(0).open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def test_plain_lines(attempt: AttemptFolder, plan: Callable[..., Plan]) -> None:
    out = io.StringIO()
    with RunProgress(attempt, plan(1, total_steps=1000), Console(file=out, width=40), line_every_s=1e9) as progress:
        progress.watch()
        write(attempt, {"kind": "phase", "name": "train", "total_steps": 1000})
        progress.watch()
        write(attempt, *(step(number) for number in range(1, 5)))
        progress.watch()
        progress.say("SIGTERM: [bold]stopping[/bold]")
    assert out.getvalue().splitlines() == [
        "train  step 0/1,000",
        "SIGTERM: [bold]stopping[/bold]",
        "train  step 4/1,000  loss 0.2500  lr 2.00e-05  1,200 tok/s  8 min 18 s left",
    ]


def test_a_line_as_often_as_asked(attempt: AttemptFolder, plan: Callable[..., Plan]) -> None:
    out = io.StringIO()
    with RunProgress(attempt, plan(1), Console(file=out), line_every_s=0) as progress:
        for number in (1, 2, 3):
            write(attempt, step(number))
            progress.watch()
            progress.watch()  # nothing new, nothing said
    assert [line.split("  ")[1] for line in out.getvalue().splitlines()] == ["step 1/100", "step 2/100", "step 3/100"]


@pytest.mark.parametrize("width", [80, 140])
def test_a_bar_on_a_terminal(attempt: AttemptFolder, plan: Callable[..., Plan], width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, color_system=None)
    with RunProgress(attempt, plan(1), console) as progress:
        write(attempt, {"kind": "phase", "name": "train"}, step(40))
        progress.watch()
    [shown] = [line for line in re.split(r"[\r\n]", out.getvalue()) if "40/100" in line][-1:]
    assert "━" in shown and len(shown.rstrip()) <= width + len("\x1b[2K")
    assert re.search(r"train .* 40/100 loss 0\.0250  lr 2\.00e-05  1,200 tok/s  30 s left$", shown.rstrip())


def test_it_starts_where_the_attempt_went_on() -> None:
    standing = Standing(100)
    standing.take({"kind": "resumed", "step": 40})
    assert standing.step == 40 and standing.tokens_per_second is None and standing.figures() == ""


def test_no_time_left_at_the_end() -> None:
    standing = Standing(3)
    standing.take(step(3))
    assert "left" not in standing.figures()


@given(sizes=st.lists(st.integers(1, 20), max_size=20))
def test_the_tail_gives_every_event_once_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    path = tmp_path_factory.mktemp("tail") / "events.jsonl"
    data = b"".join(json.dumps({"n": n, "é": "\n"}).encode() + b"\n" for n in range(5))
    tail = EventTail(path)
    seen = list(tail.new())
    with path.open("ab", buffering=0) as file:
        for size in [*sizes, len(data)]:
            file.write(data[:size])
            data = data[size:]
            seen += tail.new()
    tail.close()
    assert [event["n"] for event in seen] == [0, 1, 2, 3, 4]


def test_durations() -> None:
    assert [duration(s) for s in (-1, 0.4, 59.4, 59.6, 185, 7620)] == [
        *("0 s", "0 s", "59 s", "1 min 00 s", "3 min 05 s", "2 h 07 min")
    ]


def test_light_start() -> None:
    heavy = ("torch", "numpy", "transformers", "ray", "pyarrow", "accelerate", "deepspeed")
    script = f"import sys, launch.local, launch.progress; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.stdout == "[]\n", done.stderr


def test_events_of_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"kind": "started"}\n{"kind": "res')
    tail = EventTail(path)
    assert tail.new() == [{"kind": "started"}]
    assert tail.new() == []
    tail.close()
