"""`biodist tensorboard` and `export-scalars` on real runs: one curve after three kills, in both of TensorBoard's data
loaders; its HParams page by its HTTP interface."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

pytestmark = pytest.mark.timeout(280)
SLOW_S = 90.0
EVALUATED = [(28, 9), (57, 7), (78, 11), (None, 45)]  # killed after this step; evaluated every so many


@dataclass(frozen=True)
class Board:
    """Where the runs lie, and the tree of them."""

    runs: Path
    tree: Path
    said: Any


@pytest.fixture(scope="module")
def board(terminal: Any, tools: Any, tmp_path_factory: pytest.TempPathFactory) -> Board:
    """A run killed three times, each time resumed with evaluations at other steps; what was left of it after the third
    kill; and one that nobody disturbed."""
    for number, (kill_at, every) in enumerate(EVALUATED, start=1):
        started = terminal.start("boards/killed", 1, f"evaluate.every={every}")
        if kill_at is not None:
            started.wait_for_step(kill_at, number)
            workers = tools.workers_of(started.attempt(), 1)
            started.process.kill()
            end_all(workers, tools)
        said = started.said()
        if number == 3:
            shutil.copytree(started.run, started.run.with_name("left"))
            (started.run.with_name("left") / "lease.json").unlink()
    assert said.code == 0, said.text
    assert terminal.train("boards/whole", 1, "train.max_steps=20", "train.seed=43").code == 0
    write_foreign(terminal.folder / "boards/foreign")
    tree = tmp_path_factory.mktemp("board") / "tree"
    said = terminal.run("tensorboard", "boards", "--out", str(tree), "--group-by", "train.max_steps")
    return Board(terminal.folder / "boards", tree, said)


def write_foreign(folder: Path) -> None:
    """A run of somebody else's that went on from step 30 and then wrote at other steps than before."""
    folder.mkdir()
    for number, (first, steps) in enumerate([(0, range(2, 52, 2)), (30, range(33, 63, 10))]):
        with (folder / f"events.out.tfevents.{number}").open("wb") as file:
            records = RecordWriter(file)
            start = Event(wall_time=1.7e9, step=first, session_log=SessionLog(status=SessionLog.START))
            records.write(Event(wall_time=1.7e9, file_version="brain.Event:2").SerializeToString())
            records.write(start.SerializeToString())
            for step in steps:
                value = Summary.Value(tag="eval/f1", simple_value=step / 64)
                event = Event(wall_time=1.7e9 + step, step=step, summary=Summary(value=[value]))
                records.write(event.SerializeToString())
            file.flush()


def end_all(workers: list[int], tools: Any) -> None:
    deadline = time.monotonic() + 10
    while (left := [pid for pid in workers if tools.alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    for pid in left:
        os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class Server:
    address: str

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def wait_for(self, path: str, body: Any, good: Any) -> Any:
        """Asks until the answer is `good`: TensorBoard loads its data behind its back."""
        deadline = time.monotonic() + SLOW_S
        while True:
            found = self.ask(path, body)
            if good(found):
                return found
            if time.monotonic() > deadline:
                pytest.fail(f"{path} never said what was waited for, but: {str(found)[:2000]}", pytrace=False)
            time.sleep(0.2)


@contextmanager
def tensorboard(tree: Path, *options: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(tree), "--port", "0", "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, *options, "--samples_per_plugin", "scalars=100000"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"http://\S+", line):
                yield Server(found[0].split("(")[0])
                return
        pytest.fail("TensorBoard named no address", pytrace=False)
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.mark.parametrize("loader", ["true", "false"], ids=["data server", "python"])
def test_one_curve_without_a_stale_point(board: Board, loader: str) -> None:
    assert board.said.code == 0, board.said.text
    lines = [json.loads(line) for line in (board.runs / "killed/metrics.jsonl").read_text().splitlines()]
    with tensorboard(board.tree, f"--load_fast={loader}") as server:
        runs = server.wait_for("data/runs", None, lambda found: "runs/killed" in found)
        assert {"runs/killed", "runs/whole", "runs/left", "groups/train.max_steps=120/mean"} <= set(runs)
        for split, name in (("train", "loss"), ("validation", "f1"), ("validation", "f1/Disease")):
            wanted = [(line["step"], line[name]) for line in lines if line["split"] == split]
            tag = f"{split}/{name}"
            found = server.wait_for(
                f"data/plugin/scalars/scalars?run=runs/killed&tag={tag}",
                None,
                lambda points, size=len(wanted): len(points) >= size,
            )
            assert [step for _, step, _ in found] == [step for step, _ in wanted]
            assert [value for _, _, value in found] == pytest.approx([value for _, value in wanted], rel=1e-6)
        other = server.ask("data/plugin/scalars/scalars?run=runs/foreign&tag=eval/f1")
        assert [(step, value) for _, step, value in other] == [(n, n / 64) for n in [*range(2, 30, 2), 33, 43, 53]]
        attempts = server.ask("data/plugin/scalars/scalars?run=runs/killed&tag=run/attempt")
        assert [value for _, _, value in attempts][:4] == [1.0, 2.0, 3.0, 4.0]
        slowest = server.ask("data/plugin/scalars/scalars?run=runs/killed&tag=ranks/step_seconds/max")
        assert len(slowest) == 120
        text = server.ask("data/plugin/text/text?run=runs/killed&tag=run/card")
        assert "attempt 4 went on from step" in text[0]["text"]


def test_the_cut_is_needed(board: Board) -> None:
    """The sabotage: the attempts' events one after another, uncut, are no curve."""
    told = [
        json.loads(line)
        for attempt in sorted((board.runs / "killed/attempts").iterdir())
        for line in (attempt / "events-rank-0.jsonl").read_text().splitlines()
    ]
    steps = [line["step"] for line in told if line["kind"] == "step"]
    assert len(steps) > 120 and steps != sorted(set(steps))


@pytest.mark.parametrize("loader", ["true", "false"], ids=["data server", "python"])
def test_the_hparams_page_lists_all_trials(board: Board, loader: str) -> None:
    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    with tensorboard(board.tree, f"--load_fast={loader}") as server:
        experiment = server.wait_for(
            "data/plugin/hparams/experiment", {"experimentName": ""}, lambda found: len(found["hparamInfos"]) >= 2
        )
        assert {"train.seed", "train.max_steps"} <= {info["name"] for info in experiment["hparamInfos"]}
        metrics = [info["name"] for info in experiment["metricInfos"]]
        assert {"group": "", "tag": "validation/f1"} in metrics
        columns = [{"metric": name} for name in metrics] + [{"hparam": "train.seed"}]
        body = {
            **{"experimentName": "", "allowedStatuses": statuses, "startIndex": 0, "sliceSize": 100},
            "colParams": columns,
        }
        found = server.wait_for(
            "data/plugin/hparams/session_groups", body, lambda found: len(found.get("sessionGroups", [])) >= 4
        )
        trials = {group["name"]: group for group in found["sessionGroups"]}
        assert set(trials) == {"killed", "whole", "left", "foreign"}
        assert {name: group["sessions"][0]["status"] for name, group in trials.items()} == {
            "killed": "STATUS_SUCCESS",
            "whole": "STATUS_SUCCESS",
            "left": "STATUS_FAILURE",
            "foreign": "STATUS_UNKNOWN",
        }
        assert trials["whole"]["hparams"]["train.seed"] == 43
        result = json.loads((board.runs / "killed/result.json").read_text())
        scored = {value["name"]["tag"]: value for value in trials["killed"]["metricValues"]}
        assert scored["test/f1"]["value"] == pytest.approx(result["metrics"]["test"]["f1"], rel=1e-6)


def test_no_text_of_the_corpus(board: Board, terminal: Any, tools: Any) -> None:
    sentences = (terminal.folder / "train.tsv").read_text().split("\n\n")
    words = [" ".join(line.split("\t")[0] for line in sentence.splitlines()) for sentence in sentences]
    everything = b"".join(path.read_bytes() for path in board.tree.rglob("*") if path.is_file())
    assert tools.MARKER.encode() not in everything
    assert not any(text.encode() in everything for text in words if len(text.split()) > 2)


def test_a_second_call_and_a_table(board: Board, terminal: Any, tmp_path: Path) -> None:
    again = terminal.run("tensorboard", "boards", "--out", str(board.tree), "--group-by", "train.max_steps")
    assert again.code == 0 and "4 unchanged" in again.out, again.text
    table = tmp_path / "scalars.csv"
    said = terminal.run("export-scalars", "boards", "--out", str(table), "--with", "train.seed")
    assert said.code == 0, said.text
    rows = table.read_text().splitlines()
    assert f"{len(rows) - 1:,} points of 4 runs" in said.out
    assert sum(row.startswith('"killed","train/loss"') for row in rows) == 120


def test_serve_and_follow(board: Board, terminal: Any, tmp_path: Path) -> None:
    """TensorBoard on localhost, the tree growing under it; SIGTERM ends both."""
    tree = tmp_path / "tree"
    runs = tmp_path / "runs"
    runs.mkdir()
    shutil.copytree(board.runs / "whole", runs / "first")
    command = ["tensorboard", str(runs), "--out", str(tree), "--serve", "--port", "0", "--follow", "--every", "1"]
    process = terminal._popen(tuple(command), ("-m", "biodist.cli"))
    try:
        address = next(found[0] for line in process.stdout if (found := re.search(r"http://127.0.0.1:\d+/", line)))
        tunnel = process.stdout.readline()
        port = address.rstrip("/").rpartition(":")[2]
        assert f"ssh -N -L {port}:127.0.0.1:{port} " in tunnel
        shutil.copytree(board.runs / "left", runs / "second")
        line = process.stdout.readline()
        assert line.startswith("2 runs in"), line
    finally:
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    with pytest.raises(OSError):
        urllib.request.urlopen(address, timeout=5)


def test_what_is_wrong_with_the_paths(terminal: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").touch()
    said = terminal.run("tensorboard", "nowhere", str(tmp_path / "mine"), "--out", str(tmp_path / "tree"))
    assert said.code == 2 and "nowhere" in said.err and "holds no run" in said.err
    said = terminal.run("tensorboard", "boards", "--out", str(tmp_path / "mine"))
    assert said.code == 2 and "holds no biodist-tree.json" in said.err
    said = terminal.run("export-scalars", "boards", "--out", str(tmp_path / "table.xlsx"))
    assert said.code == 2 and ".parquet" in said.err
