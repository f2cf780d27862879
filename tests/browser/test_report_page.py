"""The page of a real run with two seeds, in headless Chromium: every chart is drawn, and nothing is asked for."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(280),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (apt-get install chromium)"),
]
RECIPE = """\
name: pages
task: ner
model:
  init: scratch
  scratch: {layers: 1, hidden_size: 16, heads: 2, intermediate_size: 32, vocab_size: 100, max_positions: 32}
data:
  max_length: 32
  stride: 8
  labels: [Disease]
  train: [{path: train.tsv, format: iob2}]
  validation: [{path: train.tsv, format: iob2}]
train: {max_steps: 8, global_batch: 4, learning_rate: 1e-3}
evaluate: {every: 2}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two seeds of one recipe, trained for eight steps."""
    folder = tmp_path_factory.mktemp("page")
    draw = random.Random(5)
    words = ["fever", "cough", "gout", "rash", "mild"]
    lines = (
        f"{draw.choice(words)}\t{draw.choice(['O', 'B-Disease'])}\n" + ("\n" if n % 4 == 3 else "") for n in range(96)
    )
    (folder / "train.tsv").write_text("".join(lines))
    (folder / "pages.yaml").write_text(RECIPE)
    for seed in (1, 2):
        biodist(folder, "train", "pages.yaml", f"train.seed={seed}", "--run", f"runs/{seed}", "--device", "cpu")
    return folder


def biodist(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "BIODIST_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "biodist.cli", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def browse(page: Path, profile: Path, *options: str) -> tuple[str, str]:
    """The page as Chromium has it once its script is done, and what its console said."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    command += ["--disable-background-networking", "--disable-component-update", "--no-first-run"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=20000", "--window-size=1200,900", *options]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, "\n".join(console)


@pytest.fixture(scope="module")
def page(runs: Path) -> Path:
    biodist(runs, "report", "runs", "--out", "report.html")
    return runs / "report.html"


def test_every_chart_is_drawn_and_the_console_is_quiet(page: Path, tmp_path: Path) -> None:
    net_log = tmp_path / "net.json"
    drawn, console = browse(page, tmp_path / "profile", "--dump-dom", f"--log-net-log={net_log}")
    assert console == ""
    charts = re.findall(r'<div class="chart[^"]*" id="chart-(\w+)"', drawn)
    assert charts == ["curves", "goodput", "timeline"] and f'data-drawn="{len(charts)}"' in drawn
    for name in charts:
        chart = drawn[drawn.index(f'id="chart-{name}"') :].split(f'id="chart-{name}-figure"')[0]
        assert "<svg" in chart and ("scatterlayer" in chart or "barlayer" in chart), name
    assert "Edit in" not in drawn and "cloud" not in re.sub(r"<script.*?</script>", "", drawn, flags=re.DOTALL).lower()
    assert asked_for(net_log) == []


def asked_for(net_log: Path) -> list[str]:
    """What the page made Chromium fetch. A file's page is of the origin "null"; Chromium's own requests have none."""
    requests = [event.get("params", {}) for event in json.loads(net_log.read_text())["events"]]
    return sorted({request["url"] for request in requests if request.get("initiator") == "null" and "url" in request})


def test_a_page_that_asks_for_something_is_found_out(page: Path, tmp_path: Path) -> None:
    """The policy in the page's head stops it and says so in the console; without the policy it does ask."""
    url = "https://nowhere.invalid/pixel.png"
    greedy, net_log = tmp_path / "greedy.html", tmp_path / "net.json"
    greedy.write_text(page.read_text().replace("</main>", f'<img src="{url}"></main>'))
    _, console = browse(greedy, tmp_path / "profile", "--dump-dom", f"--log-net-log={net_log}")
    assert "Content Security Policy" in console and asked_for(net_log) == []
    greedy.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", greedy.read_text()))
    browse(greedy, tmp_path / "profile", "--dump-dom", f"--log-net-log={net_log}")
    assert asked_for(net_log) == [url]


def test_it_prints(page: Path, tmp_path: Path) -> None:
    pdf = tmp_path / "report.pdf"
    browse(page, tmp_path / "profile", f"--print-to-pdf={pdf}", "--no-pdf-header-footer")
    assert pdf.read_bytes().startswith(b"%PDF") and pdf.stat().st_size > 20_000
