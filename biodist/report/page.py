"""The page: one HTML file that holds its charts, its style and its library, and loads nothing.

A content security policy in its head lets it run its own two scripts, by their digests, and fetch nothing at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib import resources

from biodist import __version__
from biodist.report.conduct import (
    attempts_table,
    command_of,
    goodput_table,
    provenance_table,
    stragglers_table,
)
from biodist.report.curves import curves
from biodist.report.figures import Figure
from biodist.report.goodput import together
from biodist.report.results import Confusion, best_table, breakdowns, confusion, epochs_table, score_name, splits_of
from biodist.report.searches import search_figures
from biodist.report.spans import shares, time_line
from biodist.report.study import Study, Subject
from biodist.report.tables import Table

MARK = '<meta name="generator" content="biodist report">'
"""Stands in the head of every page: how a file is known to be one."""

OPEN_TABLES = 1  # of single runs that stand open; the others open with a click
OPEN_ROWS = 12  # of the attempts' table
SHOWN_RUNS = 50
_HEAT = 60  # percent of the accent behind the fullest cell: text on it still reads in light and dark


@dataclass(frozen=True)
class Section:
    """A heading, and what stands under it as HTML; ``name`` is its anchor."""

    name: str
    title: str
    parts: tuple[str, ...]

    def html(self) -> str:
        return f'<section id="{self.name}"><h2>{escape(self.title)}</h2>{"".join(self.parts)}</section>'


def page(study: Study) -> str:
    """The whole file."""
    sections = [section for section in _sections(study) if section.parts]
    library = (resources.files("biodist.report") / "plotly" / "plotly-basic.min.js").read_text(encoding="utf-8")
    # The library's wrapper leaves its name to whoever loads it as a script.
    scripts = [library, _own("page.js")]
    style = _own("page.css")
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src {' '.join(map(_digest, scripts))}"
    )
    links = "".join(f'<a href="#{section.name}">{escape(section.title)}</a>' for section in sections)
    body = "".join(section.html() for section in sections)
    return "".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"{MARK}\n<title>{escape(study.title)}</title>\n<style>{style}</style></head>\n<body><main>",
            f"<h1>{escape(study.title)}</h1>{_facts(study)}<nav>{links}</nav>{body}</main>\n",
            *(f"<script>{script}</script>\n" for script in scripts),
            "</body></html>\n",
        )
    )


def _own(name: str) -> str:
    return (resources.files("biodist.report") / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _facts(study: Study) -> str:
    tasks = sorted({str(s.view.settings["task"]) for s in study.subjects if "task" in s.view.settings})
    models = sorted({_model(subject) for subject in study.subjects if subject.ours})
    ended = sum(subject.view.status == "finished" for subject in study.subjects)
    count = len(study.subjects)
    facts = [
        f"{count} run{'s' if count > 1 else ''}, {ended} finished",
        *(f"task {task}" for task in tasks),
        *(models if len(models) <= 3 else [f"{len(models)} models"]),
        f"chosen by {score_name(study.metric)} on validation ({study.mode})",
        f"written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by biodist {__version__}",
    ]
    return f'<p class="facts">{escape(" · ".join(facts))}</p>'


def _model(subject: Subject) -> str:
    name = subject.view.settings.get("model.name")
    return str(name) if name else "a model made from nothing"


def _sections(study: Study) -> Iterable[Section]:
    yield Section("problems", "Left out", _problems(study))
    yield Section("best", "Best", (best_table(study).html(),))
    yield Section("curves", "Learning curves", _figures([curves(study)]))
    yield Section("epochs", "By epoch", _folded(map(epochs_table, _by_rank(study))))
    yield Section("breakdown", "By type, class and corpus", _breakdown(study))
    yield Section("search", "Hyper-parameters", _figures(search_figures(study)))
    yield Section("goodput", "Goodput", _goodput(study))
    yield Section("attempts", "Attempts", _attempts(study))
    yield Section("stragglers", "Ranks", _folded(map(stragglers_table, _by_rank(study))))
    yield Section("reproduce", "Made with", _reproduction(study))


def _problems(study: Study) -> tuple[str, ...]:
    items = "".join(f"<li>{escape(str(problem))}</li>" for problem in study.problems)
    return (f"<ul>{items}</ul>",) if items else ()


def _by_rank(study: Study) -> list[Subject]:
    """The best run first, then the others in the order of their groups."""
    ranked = [study.best_run, *(member for group in study.groups for member in group.members)]
    return list({id(subject): subject for subject in ranked}.values())


def _folded(tables: Iterable[Table | None]) -> tuple[str, ...]:
    """Tables of single runs: the first stands open."""
    found = [table for table in tables if table is not None]
    opened = [table.html() for table in found[:OPEN_TABLES]]
    shown = found[OPEN_TABLES:SHOWN_RUNS]
    if not shown:
        return tuple(opened)
    hidden = len(found) - len(opened) - len(shown)
    tail = f'<p class="note">{hidden} more runs are left out.</p>' if hidden else ""
    noun = "1 more run" if len(shown) == 1 else f"{len(shown)} more runs"
    inner = "".join(table.html() for table in shown)
    return (*opened, f"<details><summary>{noun}</summary>{inner}{tail}</details>")


def _figures(figures: Sequence[Figure | None]) -> tuple[str, ...]:
    return tuple(_figure(figure) for figure in figures if figure is not None)


def _figure(figure: Figure) -> str:
    # No text of a run can end the element early: "<" never stands in it.
    data = json.dumps(figure.json(), ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    caption = f"<figcaption>{escape(figure.caption)}</figcaption>" if figure.caption else ""
    name = f"chart-{figure.name}"
    return (
        f'<figure><div class="chart" id="{name}" style="height:{figure.height}px">'
        "<noscript>This chart needs JavaScript.</noscript></div>"
        f'<script type="application/json" id="{name}-figure">{data}</script>{caption}</figure>'
    )


def _breakdown(study: Study) -> tuple[str, ...]:
    parts: list[str] = []
    for split in splits_of(study.best.members):
        parts += [table.html() for table in breakdowns(study.best, split)]
        if (found := confusion(study.best, split)) is not None:
            parts.append(_confusion(found))
    return (f"<p>{escape(study.best.label)}</p>", *parts) if parts else ()


def _confusion(found: Confusion) -> str:
    head = "".join(f'<th class="number">{escape(name)}</th>' for name in found.names)
    rows = []
    for name, counts in zip(found.names, found.counts, strict=True):
        total = sum(counts)
        cells = "".join(_heat(count, total) for count in counts)
        rows.append(f'<tr><th>{escape(name)}</th>{cells}<td class="number">{total:,}</td></tr>')
    runs = f" of {found.runs} runs together" if found.runs > 1 else ""
    caption = f"<caption>confusion, {found.split}: rows gold, columns predicted; samples{runs}</caption>"
    table = f'{caption}<thead><tr><th></th>{head}<th class="number">all</th></tr></thead><tbody>{"".join(rows)}</tbody>'
    return f'<div class="scroll"><table>{table}</table></div><p class="note">Colour: share of its row.</p>'


def _heat(count: int, total: int) -> str:
    strength = round(_HEAT * count / total) if total else 0
    colour = f"color-mix(in srgb, var(--accent) {strength}%, transparent)"
    return f'<td class="heat" style="background:{colour}">{count:,}</td>'


def _goodput(study: Study) -> tuple[str, ...]:
    found = [subject.goodput for subject in study.subjects if subject.goodput]
    if not found:
        return ()
    table = goodput_table(together(found)).html()
    if len(found) == 1:
        return (table,)
    return (f"<p>{len(found)} runs together; each counts for itself.</p>", table, *_figures([shares(_by_rank(study))]))


def _attempts(study: Study) -> tuple[str, ...]:
    table = attempts_table(_by_rank(study))
    chart = _figures([time_line(_by_rank(study))])
    if table is None or len(table.rows) <= OPEN_ROWS:
        return (*chart, *([table.html()] if table else []))
    return (*chart, f"<details><summary>{len(table.rows)} attempts</summary>{table.html()}</details>")


def _reproduction(study: Study) -> tuple[str, ...]:
    """The commands of the best group's runs, and what the best one was made with."""
    commands = [command for member in study.best.members if (command := command_of(member))]
    made = study.best_run.provenance
    lines = list(dict.fromkeys(commands))
    if made and made.commit and lines:
        lines.insert(0, f"git checkout {made.commit.commit}")
    block = f"<pre>{escape(chr(10).join(lines))}</pre>" if lines else ""
    table = provenance_table(study.best_run)
    of = f"<p>{escape(study.best.label)}</p>"
    return (of, block, table.html() if table else "") if lines or table else ()
