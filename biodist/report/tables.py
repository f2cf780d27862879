"""A table as a value: rendered on the page, in the terminal and in a model card alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from rich.table import Table as RichTable
from rich.text import Text


@dataclass(frozen=True)
class Column:
    """A column's head. ``unit`` stands under the name; numbers stand at the right."""

    name: str
    unit: str = ""
    number: bool = True

    @property
    def head(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True)
class Table:
    """Cells as they are read. ``strong``: rows, counted from 0, that stand out; ``note``: what a reader must know."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: frozenset[int] = frozenset()
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.title}: a row has {len(row)} cells, must have {len(self.columns)}")

    def html(self) -> str:
        """Everything in it escaped."""
        head = "".join(_cell("th", column, _head_html(column)) for column in self.columns)
        body = "".join(self._row_html(number, row) for number, row in enumerate(self.rows))
        note = f'<p class="note">{escape(self.note)}</p>' if self.note else ""
        caption = f"<caption>{escape(self.title)}</caption>" if self.title else ""
        table = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f'<div class="scroll">{table}</div>{note}'

    def _row_html(self, number: int, row: Sequence[str]) -> str:
        cells = "".join(_cell("td", column, escape(cell)) for column, cell in zip(self.columns, row, strict=True))
        return f'<tr class="strong">{cells}</tr>' if number in self.strong else f"<tr>{cells}</tr>"

    def terminal(self) -> RichTable:
        """For rich."""
        table = RichTable(title=self.title or None, title_justify="left", caption=self.note or None)
        table.caption_justify = "left"
        for column in self.columns:
            table.add_column(Text(column.head), justify="right" if column.number else "left")
        for number, row in enumerate(self.rows):
            table.add_row(*(Text(cell) for cell in row), style="bold" if number in self.strong else None)
        return table

    def markdown(self) -> str:
        """For a model card, without title."""
        head = " | ".join(_markdown(column.head) for column in self.columns)
        rule = " | ".join("---:" if column.number else "---" for column in self.columns)
        rows = (" | ".join(_markdown(cell) for cell in row) for row in self.rows)
        return "\n".join(f"| {line} |" for line in (head, rule, *rows))


def _cell(tag: str, column: Column, inner: str) -> str:
    return f'<{tag} class="number">{inner}</{tag}>' if column.number else f"<{tag}>{inner}</{tag}>"


def _head_html(column: Column) -> str:
    unit = f"<small>{escape(column.unit)}</small>" if column.unit else ""
    return escape(column.name) + unit


def _markdown(cell: str) -> str:
    return escape(cell, quote=False).replace("|", "\\|").replace("\n", " ")
