"""The tree in TensorBoard, in headless Chromium: the curve is drawn, the HParams page shows the trials."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from biodist.aggregation.runs import find_runs
from biodist.aggregation.tree import Tree
from biodist.metrics.events import EventLog, StepEvent
from biodist.run.folder import RunFolder
from biodist.run.records import AttemptRecord, Result

pytestmark = [pytest.mark.browser, pytest.mark.timeout(280)]
TRIALS = {"low": 1e-5, "high": 3e-5}
# Elements of Polymer lie in shadow trees, which querySelector does not enter.
DEEP = """
function deep(selector, root = document) {
  const found = [...root.querySelectorAll(selector)];
  for (const one of root.querySelectorAll('*')) if (one.shadowRoot) found.push(...deep(selector, one.shadowRoot));
  return found;
}
function place(one) { const r = one.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; }
"""


def made_up(folder: Path, rate: float) -> None:
    """A run of ours that was killed at step 30 and resumed from 20."""
    folder.mkdir(parents=True)
    run = RunFolder(folder)
    run.recipe.write_text("name: made-up\n")
    for number, (resumed, end) in enumerate([(0, 30), (20, 60)], start=1):
        attempt = run.new_attempt()
        recipe = {"train": {"learning_rate": rate}, "evaluate": {"metric": "f1"}}
        attempt.plan.write_text(json.dumps({"recipe": recipe}))
        with EventLog(attempt.events(0)) as log:
            log.resumed(resumed)
            for step in range(resumed + 1, end + 1):
                log.step(StepEvent(step, 1, 8, "0" * 64, 1 / step + rate, rate, 1.0, 80, 8, 8, 0.1, 1.7e9 + step))
                if step % 20 == 0:
                    log.scalars(step, "validation", {"f1": step / 100})
        AttemptRecord(
            number=number,
            outcome="finished" if number == 2 else "running",
            **{"host": "node1", "pid": 1, "world_size": 1, "strategy": "ddp", "started": 1.7e9},
            **{"resumed_step": resumed, "first_step": resumed + 1, "last_step": end},
        ).save(attempt.record)
    Result(status="finished", steps=60, samples_seen=1, tokens_seen=1, train_seconds=1.0, tokens_per_second=1.0).save(
        run.result
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("board")
    for name, rate in TRIALS.items():
        made_up(folder / "runs" / name, rate)
    tree = Tree.prepare(folder / "tree")
    with tree.writing() as writer:
        writer.update(find_runs([folder / "runs"]), ("train.learning_rate",))
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(tree.root), "--port", "0"]
    server = subprocess.Popen([*command, "--host", "127.0.0.1"], stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        yield next(found[0] for line in server.stderr if (found := re.search(r"http://\S+", line)))
    finally:
        server.terminate()
        server.communicate(timeout=30)


def cut(photograph: Path, place: list[float]) -> np.ndarray:
    left, top, right, bottom = (round(edge) for edge in place)
    return np.asarray(Image.open(photograph).convert("RGB"))[max(0, top) : bottom, left:right].astype(int)


def coloured(picture: np.ndarray) -> int:
    """Pixels that are no shade of grey: lines, but no axes and no letters."""
    return int((picture.max(axis=2) - picture.min(axis=2) > 60).sum())


def test_the_curve_is_drawn(address: str, page: Any, tmp_path: Path) -> None:
    page.open(f"{address}?tagFilter=train%2Floss#timeseries")
    page.ask(DEEP)
    charts = "deep('scalar-card line-chart').filter(one => one.offsetHeight > 50)"
    page.wait_for(f"{charts}.length > 0", "the card of train/loss")
    chart = page.ask(f"place({charts}[0])")
    for _ in range(40):
        photograph = page.photograph(tmp_path / "curve.png")
        if coloured(cut(photograph, chart)) > 200:
            break
        page.wait_for("new Promise(done => setTimeout(() => done(true), 500))", "half a second")
    picture = cut(photograph, chart)
    assert coloured(picture) > 200, "no line in the chart"
    # The line goes through most of the chart's width: it has no gap where the run was resumed.
    columns = (picture.max(axis=2) - picture.min(axis=2) > 60).any(axis=0)
    drawn = np.flatnonzero(columns)
    assert (drawn[-1] - drawn[0]) > 0.6 * picture.shape[1] and columns[drawn[0] : drawn[-1]].mean() > 0.97


def test_the_trials_are_listed(address: str, page: Any, tmp_path: Path) -> None:
    page.open(f"{address}#hparams")
    page.ask(DEEP)
    cells = "deep('vaadin-grid-cell-content').filter(one => one.offsetHeight > 0 && one.textContent.trim())"
    texts = f"{cells}.map(one => one.textContent.trim())"
    for name in TRIALS:
        page.wait_for(f"{texts}.includes('{name}')", f"the row of trial {name}")
    found = page.ask(texts)
    assert "train.learning_rate" in " ".join(found) and "validation/f1" in " ".join(found).replace(" ", "")
    photograph = page.photograph(tmp_path / "trials.png")
    for name in TRIALS:
        row = cut(photograph, page.ask(f"place({cells}.find(one => one.textContent.trim() === '{name}'))"))
        assert (row.max(axis=2) < 110).sum() > 10, f"no letters where the row of {name} should be"
