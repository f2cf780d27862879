"""`data check`: everything worth knowing of a file before a job reads it, in one pass."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from biodist.data.iob import Reading, ReadReport, Source
from biodist.data.repetition import Repeats, Repetition
from biodist.data.texts import TextReading, TextReport, TextSource
from biodist.errors import Problem, UserError


@dataclass(frozen=True)
class CheckReport:
    """What `data check` found in a tagged file. ``problems`` make it unfit for training; repeats do not."""

    source: Source
    counts: ReadReport
    repeats: Repeats
    problems: tuple[Problem, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        path, format = str(self.source.path), self.source.format
        return {"path": path, "format": format, **asdict(self.counts), **_found(self.repeats, self.problems)}


@dataclass(frozen=True)
class TextCheckReport:
    """What `data check` found in a file of texts or pairs."""

    source: TextSource
    counts: TextReport
    repeats: Repeats
    problems: tuple[Problem, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        counts = asdict(self.counts)
        sides = zip(self.source.text_columns, counts.pop("lengths"), strict=True)
        return {
            "path": str(self.source.path),
            "format": self.source.format,
            "pairs": self.source.columns.second is not None,
            **counts,
            "texts": [{"column": name, **lengths} for name, lengths in sides],
            **_found(self.repeats, self.problems),
        }


def _found(repeats: Repeats, problems: tuple[Problem, ...]) -> dict[str, Any]:
    return {
        "duplicates": repeats.repeated,
        "contradictions": repeats.contradictions,
        "contradicting_lines": [list(pair) for pair in repeats.lines],
        "problems": [asdict(problem) for problem in problems],
    }


def check_file(source: Source) -> CheckReport:
    """Reads a tagged file once and reports on it. Problems are in the report, not raised."""
    reading, repetition = Reading(source), Repetition()
    problems: tuple[Problem, ...] = ()
    try:
        for record in reading:
            entities = [(each.start, each.end, each.type) for each in record.entities]
            # The token count too: the same letters cut otherwise have another row of tags.
            repetition.add(record.line, [record.tokens], (len(record.tokens), entities))
    except UserError as error:
        problems = error.problems
    return CheckReport(source, reading.report, repetition.repeats, problems)


def check_text_file(source: TextSource) -> TextCheckReport:
    """Reads a file of texts or pairs once and reports on it. Problems are in the report, not raised."""
    reading, repetition = TextReading(source), Repetition()
    problems: tuple[Problem, ...] = ()
    try:
        for record in reading:
            repetition.add(record.line, [text.split() for text in record.texts], sorted(record.labels))
    except UserError as error:
        problems = error.problems
    return TextCheckReport(source, reading.report, repetition.repeats, problems)
