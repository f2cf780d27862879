"""Commands that need no torch import none, and none of its like."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(280)
HEAVY = ("torch", "transformers", "accelerate", "deepspeed", "ray", "datasets", "evaluate", "tensorboard")
PROGRAM = f"""
import json, sys
from pathlib import Path
import click, typer
from biodist.cli.app import app
from biodist.errors import BiodistError
try:
    app(sys.argv[2:], standalone_mode=False)
except (BiodistError, typer.Exit) as end:
    code = getattr(end, "exit_code", 0)
else:
    code = 0
heavy = sorted({HEAVY!r}[i] for i in range({len(HEAVY)}) if {HEAVY!r}[i] in sys.modules)
Path(sys.argv[1]).write_text(json.dumps(dict(heavy=heavy, code=code)))
"""


def imported(desk: Any, *arguments: str) -> list[str]:
    """The heavy packages that a command imported, once it has done its work."""
    answer: Path = desk.folder / "imported.json"
    said = desk.run(str(answer), *arguments, program=("-c", PROGRAM))
    assert said.code == 0, said.text
    heavy: list[str] = json.loads(answer.read_text())["heavy"]
    return heavy


def test_the_probe_sees_what_is_imported(desk: Any) -> None:
    probe = PROGRAM.replace("import json, sys", "import json, sys, evaluate", 1)
    said = desk.run(str(desk.folder / "imported.json"), "--help", program=("-c", probe))
    assert said.code == 0 and "evaluate" in json.loads((desk.folder / "imported.json").read_text())["heavy"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("train", "--help"),
        ("recipes",),
        ("recipe", "--schema"),
        ("plan", "tiny.yaml", "--nproc", "2", "--device", "cpu"),
        ("plan", "tiny.yaml", "distributed.strategy=zero3", "--json"),
        ("data", "check", "train.tsv"),
        ("data", "check", "--recipe", "tiny.yaml"),
        ("data", "stats", "train.tsv", "test.tsv"),
        ("data", "convert", "train.tsv", "--to", "bioc", "--out", "train.xml"),
        ("data", "convert", "train.tsv", "--to", "bigbio", "--out", "train.parquet"),
        ("data", "merge", "tiny.yaml", "--out", "merged.tsv"),
        ("train", "tiny.yaml", "train.epocs=3"),
        ("evaluate", "nowhere"),
        ("export", "nowhere", "there"),
    ],
    ids=" ".join,
)
def test_commands_that_need_no_torch(desk: Any, arguments: tuple[str, ...]) -> None:
    assert imported(desk, *arguments) == []


def test_a_plan_with_an_index_to_build(desk: Any, tmp_path: Path) -> None:
    desk.cache = tmp_path / "cold"
    assert imported(desk, "plan", "tiny.yaml", "--device", "cpu") == []
    assert any(desk.cache.rglob("*")), "no index was built"


def test_a_finished_run(undisturbed: Callable[[str, int], Any], terminal: Any) -> None:
    made = undisturbed("ddp", 2)
    assert made.said.code == 0, made.said.text
    assert imported(terminal, "train", "tiny.yaml", "--run", "ddp-2") == []


def test_a_prediction(undisturbed: Callable[[str, int], Any], terminal: Any) -> None:
    """The command waits for processes that have torch; it needs none."""
    assert undisturbed("ddp", 2).said.code == 0
    assert imported(terminal, "predict", "ddp-2", "validation.tsv", "--out", "light.tsv") == []


def test_the_launcher_of_a_run(terminal: Any, tools: Any) -> None:
    """It outlives an attempt of days beside its workers: their memory is not its own."""
    assert imported(terminal, "train", "tiny.yaml", "train.max_steps=2", "--run", "short", "--device", "cpu") == []
