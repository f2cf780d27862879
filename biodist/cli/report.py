"""``biodist report``: the page, tables and model card of one run, many, or a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from biodist.cli.say import err, out
from biodist.errors import MachineCannot, Problem, SomeFailed, UserError

if TYPE_CHECKING:
    from biodist.report.study import Study

_PAGE = Path("report.html")


def report(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Run folders, or folders with runs below.")],
    page: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", help="The page; report.html here when not given (none with --json or --card)."),
    ] = None,
    group_by: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="KEY", help="Runs alike in these recipe keys are a group; else all but the seed."),
    ] = None,
    card: Annotated[bool, typer.Option("--card", help="Write RUN/model/README.md of every finished run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object: groups, runs, goodput, attempts.")] = False,
) -> None:
    """Writes one self-contained page about runs, and prints its tables. The page loads nothing from anywhere.

    Runs that cannot be read are named and left out (exit 5).
    """
    from biodist.report.study import read_study
    from biodist.report.summary import as_json as summary
    from biodist.report.summary import terminal

    if page is None and not (card or as_json):
        page = _PAGE
    if page is not None:
        _refuse_foreign(page)
    study = read_study(paths, group_by or [])
    if as_json:
        typer.echo(json.dumps(summary(study), indent=2))
    else:
        for part in terminal(study):
            out.print(part, crop=False)
    if card:
        _write_cards(study)
    if page is not None:
        _write_page(study, page)
    _say_left_out(study)


def _refuse_foreign(page: Path) -> None:
    """A file is replaced only where an earlier report wrote it."""
    from biodist.report.page import MARK

    if page.is_dir():
        raise UserError(Problem(f"--out {page}", "is a folder", "name a file in it: report.html"))
    if not page.exists():
        return
    with page.open("rb") as file:
        if MARK.encode() not in file.read(4096):
            raise UserError(Problem(f"--out {page}", "is there, and no report of biodist", "name another file"))


def _write_page(study: Study, path: Path) -> None:
    from biodist.report.page import page
    from biodist.run.durable import write_text

    text = page(study)
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        write_text(path.absolute(), text)
        if any(subject.view.settings.get("data.sensitive") is True for subject in study.subjects):
            path.chmod(0o600)
    except OSError as error:
        raise MachineCannot(f"{path}: the page cannot be written: {error.strerror}") from None
    err.print(f"page  {path}  ({len(text.encode()) / 1e6:.1f} MB, loads nothing)")


def _write_cards(study: Study) -> None:
    from biodist.report.card import write_cards

    try:
        for path in write_cards(study):
            err.print(f"card  {path}")
    except OSError as error:
        raise MachineCannot(f"{error.filename}: the card cannot be written: {error.strerror}") from None


def _say_left_out(study: Study) -> None:
    if study.unread:
        named = "; ".join(str(problem) for problem in study.unread)
        raise SomeFailed(
            f"{len(study.unread)} of {len(study.unread) + len(study.subjects)} runs cannot be read: {named}"
        )
