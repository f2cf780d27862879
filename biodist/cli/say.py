"""What a command says: results on standard output, everything else on standard error."""

from __future__ import annotations

from rich.console import Console

from biodist.errors import BiodistError, UserError

out = Console(highlight=False, markup=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def complain(error: BiodistError) -> None:
    """Prints an error: each problem of the user's input on its own line, with its place and what to do."""
    if not isinstance(error, UserError):
        err.print(f"biodist: {error}")
        return
    count = len(error.problems)
    err.print(f"biodist: {count} problem{'s' if count != 1 else ''} to mend first:")
    for problem in error.problems:
        err.print(f"  {problem.where}: {problem.what}")
        if problem.do:
            err.print(f"    -> {problem.do}")
