"""The page: it holds all it needs, loads nothing, and no word of a run can become markup."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from biodist.errors import UserError
from biodist.report.card import MARK, write_cards
from biodist.report.page import page
from biodist.report.searches import dimension
from biodist.report.study import read_study
from biodist.report.summary import as_json, terminal

pytestmark = pytest.mark.timeout(60)
PLOTLY = resources.files("biodist.report") / "plotly" / "plotly-basic.min.js"
PLOTLY_SHA256 = "99784e3abfb07b142a15e521a439e6d9addceadb3f79553fd24c72774f0649ba"  # 4.1.1, as npm has it


class Markup(HTMLParser):
    """Elements, and what is fetched by an attribute."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        loads = {"src", "href", "data", "srcset", "poster", "action"}
        self.fetched += [value for name, value in attributes if name in loads and value and not value.startswith("#")]


def figures(text: str) -> dict[str, Any]:
    found = re.findall(r'<script type="application/json" id="chart-(\w+)-figure">(.*?)</script>', text)
    return {name: json.loads(figure) for name, figure in found}


def test_the_library_is_the_published_one() -> None:
    assert hashlib.sha256(PLOTLY.read_bytes()).hexdigest() == PLOTLY_SHA256
    assert "MIT" in (resources.files("biodist.report") / "plotly" / "LICENSE").read_text()


def test_nothing_is_loaded(seeds: Path) -> None:
    text = page(read_study([seeds]))
    own = text.replace(PLOTLY.read_text(encoding="utf-8"), "")
    assert Markup(own).fetched == [] and not re.search(r"https?:|@import|url\(", own)
    assert "default-src 'none'" in own and "showSendToCloud: false" in own
    # The check sees what it is there for.
    assert Markup(own.replace("<main>", '<main><img src="https://a.example/x.png">')).fetched


def test_names_of_a_run_never_become_markup(seeds: Path) -> None:
    text = page(read_study([seeds]))
    assert "<b>" not in text.replace(PLOTLY.read_text(encoding="utf-8"), "") and "no&lt;b&gt;" in text


def test_every_part_is_there(seeds: Path) -> None:
    text = page(read_study([seeds]))
    assert re.findall(r'<section id="(\w+)">', text) == [
        *("best", "curves", "epochs", "breakdown", "search", "goodput", "attempts", "reproduce"),
    ]
    assert set(figures(text)) == {"curves", "parallel", "scatter", "goodput", "timeline"}


def test_curves_have_bands_over_seeds(seeds: Path) -> None:
    traces = figures(page(read_study([seeds])))["curves"]["data"]
    bands = [trace for trace in traces if trace.get("fill") == "toself"]
    best = next(trace for trace in traces if trace["legendgroup"].endswith("0.001") and "hovertext" in trace)
    assert len(bands) == 8 and best["x"] == [2, 4] and best["y"] == [0.75, 0.85]
    assert bands[0]["y"] == pytest.approx([0.75 + 0.0707107, 0.85 + 0.0707107, 0.85 - 0.0707107, 0.75 - 0.0707107])


def test_the_time_line_is_the_attempt(seeds: Path) -> None:
    bars = figures(page(read_study([seeds / "0.001-1"])))["timeline"]["data"]
    # In order: up to the first phase, the steps and their scores, the end. In seconds: it lasted nine.
    assert {bar["name"]: sum(bar["x"]) for bar in bars} == {"training": 6, "starting": 3}


def test_the_command_is_the_plan_s_without_its_folder(seeds: Path) -> None:
    assert "<pre>biodist train small.yaml --nproc 1</pre>" in page(read_study([seeds]))


def test_a_study_without_a_score_still_makes_a_page(author: Any) -> None:
    text = page(read_study([author("new").run.root]))
    assert 'id="best"' in text and figures(text) == {}


def test_dimensions() -> None:
    rates = dimension("rate", [1e-5, 1e-4, 1e-3])
    assert rates.name == "rate (log)" and rates.places == pytest.approx((0, 0.5, 1))
    assert dimension("n", [1, 2, 3]).places == (0, 0.5, 1) and dimension("n", [4, 4]).places == (0.5, 0.5)
    assert dimension("way", ["b", "a", None]).ticks == ((1 / 6, "a"), (0.5, "b"), (5 / 6, "none"))


def test_short_forms(seeds: Path) -> None:
    study = read_study([seeds])
    assert len(list(terminal(study))) == 3
    value = json.loads(json.dumps(as_json(study), allow_nan=False))
    assert value["groups"][0]["scores"]["test"]["f1"]["mean"] == pytest.approx(0.8)
    assert {run["goodput"]["wall_s"] for run in value["runs"]} == {9.0}


def test_a_card_loads_and_keeps_what_is_somebody_s_own(seeds: Path) -> None:
    from huggingface_hub import ModelCard

    study = read_study([seeds])
    written = write_cards(study)
    assert sorted(path.parent.parent.name for path in written) == ["0.001-1", "0.001-2", "0.01-1", "0.01-2"]
    card = ModelCard.load(seeds / "0.001-1" / "model" / "README.md", ignore_metadata_errors=False)
    results = {one.metric_type: (one.metric_value, one.dataset_split) for one in card.data.eval_results or []}
    assert card.data.pipeline_tag == "token-classification" and results == {"f1": (0.75, "test")}
    assert "0.800 ± 0.071" in card.text and "| 0.50 | 4 | 0.300 |" in card.text
    assert write_cards(study) == written  # its own are replaced
    own = seeds / "0.01-2" / "model" / "README.md"
    own.write_text(own.read_text().replace(MARK, ""))
    with pytest.raises(UserError, match="did not write"):
        write_cards(study)


def test_a_report_needs_no_torch(seeds: Path) -> None:
    program = (
        "import sys; from biodist.cli.app import app; "
        "app(['report', sys.argv[1], '--out', sys.argv[2], '--card'], standalone_mode=False); "
        "heavy = {'torch', 'transformers', 'datasets', 'tensorboard'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-c", program, str(seeds), str(seeds / "report.html")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and (seeds / "report.html").stat().st_size > 1_000_000, done.stderr
