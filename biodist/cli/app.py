"""``biodist``: the command line. Each command is a module; what it needs is imported when it runs."""

from __future__ import annotations

import signal
import sys

import typer

from biodist import __version__
from biodist.cli.cancel import cancel
from biodist.cli.checkpoints import checkpoints, export
from biodist.cli.data import data_app
from biodist.cli.evaluate import evaluate
from biodist.cli.export_scalars import export_scalars
from biodist.cli.logs import logs
from biodist.cli.plan import plan
from biodist.cli.predict import predict
from biodist.cli.profiles import profile, profiles
from biodist.cli.quickstart import quickstart
from biodist.cli.recipes import recipe, recipes
from biodist.cli.report import report
from biodist.cli.resume import resume
from biodist.cli.say import complain
from biodist.cli.seeds import seeds
from biodist.cli.status import status
from biodist.cli.submit import submit
from biodist.cli.sweep import sweep
from biodist.cli.tensorboard import tensorboard
from biodist.cli.train import train
from biodist.errors import EXIT_INTERRUPTED, BiodistError

app = typer.Typer(
    name="biodist",
    help="Trains biomedical language models: one recipe on a laptop, a GPU, a node or many.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(quickstart)
app.command()(train)
app.command()(resume)
app.command()(submit)
app.command()(seeds)
app.command()(sweep)
app.command()(status)
app.command()(logs)
app.command()(cancel)
app.command()(plan)
app.command()(evaluate)
app.command()(predict)
app.command()(report)
app.command()(checkpoints)
app.command()(export)
app.command()(tensorboard)
app.command()(export_scalars)
app.command()(recipes)
app.command()(recipe)
app.command()(profiles)
app.command()(profile)
app.add_typer(data_app, name="data", help="Reads, validates and counts corpora.")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"biodist {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main() -> None:
    """Runs one command and exits with the contract's code; a user's mistake gives no traceback."""
    try:
        app()
    except BiodistError as error:
        complain(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    finally:
        # What the command came to is settled: a late Ctrl-C while the interpreter ends must not change its exit code.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
