"""`biodist report` over real runs: one that nobody disturbed, one that was killed and went on, and bad input."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(280)
LAST_STEP = 20


def sentences(corpus: Path) -> list[str]:
    """Every sentence of a corpus, its words joined by one blank."""
    blocks = corpus.read_text().split("\n\n")
    return [" ".join(line.split("\t")[0] for line in block.splitlines()) for block in blocks if block.strip()]


def of_corpus(text: str, corpus: Path, marker: str) -> list[str]:
    """The sentences that stand in a text, and the word that is in each of them."""
    return [sentence for sentence in [*sentences(corpus), marker] if sentence in text]


def test_page_json_and_card_of_a_finished_run(
    undisturbed: Callable[[str, int], Any], terminal: Any, tools: Any, tmp_path: Path
) -> None:
    made = undisturbed("ddp", 2)
    assert made.said.code == 0, made.said.text
    page = tmp_path / "report.html"
    said = terminal.run("report", "ddp-2", "--out", str(page), "--card")
    assert said.code == 0, said.text
    card = (made.run / "model" / "README.md").read_text()
    assert "every I- continues a mention" in card, "whoever takes the exported model must know what was scored"
    text = page.read_text() + card + said.text
    corpus = terminal.folder / "train.tsv"
    assert of_corpus(text, corpus, tools.MARKER) == []
    assert of_corpus(text + sentences(corpus)[7], corpus, tools.MARKER), "the search finds nothing at all"
    result = json.loads((made.run / "result.json").read_text())
    assert f"{result['metrics']['test']['f1']:.3f}" in said.out and "goodput" in said.out
    value = json.loads(terminal.run("report", "ddp-2", "--json").out)
    assert value["runs"][0]["goodput"]["steps"] == {"kept": tools.STEPS, "repeated": 0}
    assert [rank["rank"] for rank in value["runs"][0]["ranks"]] == [0, 1]
    assert terminal.run("report", "ddp-2", "--out", str(page)).code == 0, "its own page is not replaced"


def test_goodput_of_a_killed_and_resumed_run_adds_up(desk: Any) -> None:
    steps = (f"train.max_steps={LAST_STEP}", f"evaluate.every={LAST_STEP}")
    killed = desk.start("killed", 1, *steps)
    killed.wait_for_step(13, attempt=1)
    killed.process.send_signal(signal.SIGKILL)
    killed.said()
    resumed = desk.train("killed", 1, *steps)
    assert resumed.code == 0, resumed.text
    said = desk.run("report", "killed", "--json")
    assert said.code == 0, said.text
    good = json.loads(said.out)["runs"][0]["goodput"]
    assert wrong(good, desk.folder / "killed") == []
    for part in ("lost", "idle", "training"):
        cooked = {**good, "seconds": {**good["seconds"], part: 0.0}}
        assert wrong(cooked, desk.folder / "killed"), f"{part} may be left out"
    lost = good["seconds"]["lost"]
    embellished = {**good["seconds"], "lost": 0.0, "training": good["seconds"]["training"] + lost}
    assert wrong({**good, "seconds": embellished}, desk.folder / "killed")


def wrong(good: dict[str, Any], run: Path) -> list[str]:
    """What an account of the run's time says that its files do not."""
    first, last = (json.loads((run / "attempts" / n / "attempt.json").read_text()) for n in ("0001", "0002"))
    kept, cut = events(run, "0001"), int(last["resumed_step"])
    repeated = [event for event in kept if event["kind"] == "step" and event["step"] > cut]
    found = []
    if sum(good["seconds"].values()) != pytest.approx(last["ended"] - first["started"], abs=1e-3):
        found.append("the parts are not the wall time")
    if good["seconds"]["idle"] != pytest.approx(last["started"] - kept[-1]["time"], abs=1e-3):
        found.append("between the last sign of life and the next start nobody ran it")
    if good["steps"] != {"kept": LAST_STEP, "repeated": len(repeated)}:
        found.append("the steps are counted wrongly")
    if good["seconds"]["lost"] < sum(event["seconds"] for event in repeated):
        found.append("steps that were made again are not counted as lost")
    counted = [event for event in [*kept, *events(run, "0002")] if event["kind"] == "step" and event not in repeated]
    if good["seconds"]["training"] < sum(event["seconds"] for event in counted):
        found.append("steps that count are not counted as training")
    return found


def events(run: Path, attempt: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "attempts" / attempt / "events-rank-0.jsonl").read_text().splitlines()]


def test_bad_input(desk: Any) -> None:
    (desk.folder / "empty").mkdir()
    (desk.folder / "mine.html").write_text("<p>my own</p>")
    for arguments, place in (
        (("report", "nowhere"), "nowhere"),
        (("report", "empty"), "empty"),
        (("report", "empty", "--out", "mine.html"), "mine.html"),
        (("report", "empty", "--out", "empty"), "is a folder"),
    ):
        said = desk.run(*arguments)
        assert said.code == 2 and place in said.err and "Traceback" not in said.err, said.text
    assert (desk.folder / "mine.html").read_text() == "<p>my own</p>"
    assert not (desk.folder / "report.html").exists()
