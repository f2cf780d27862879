"""``biodist quickstart``: the generated corpus, and the baselines to hold the trained model against."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from biodist.cli.say import err
from biodist.errors import MachineCannot

if TYPE_CHECKING:
    from biodist.data.baselines import EntityScore

DATA: Final = Path("quickstart-data")  # where recipes/quickstart.yaml looks, from the current folder


def quickstart(
    run: Annotated[Path | None, typer.Option(help="Run folder; runs/quickstart-<core> when not given.")] = None,
) -> None:
    """Generates a corpus, trains the quickstart recipe on two processes with ZeRO-2, and prints the table.

    Two baselines stand beside the model: a dictionary of the training names, and a linear classifier on a token, its
    last three letters and its neighbours.
    """
    from biodist.cli.train import train_recipe

    if prepare_corpus(DATA):
        err.print(f"generated the corpus of the quickstart in {DATA}/")
    raise typer.Exit(train_recipe("quickstart", (), run, nproc=2, device="cpu", baselines=_baselines))


def _baselines() -> dict[str, dict[str, float]]:
    return {
        score.name: {"precision": score.precision, "recall": score.recall, "f1": score.f1}
        for score in baseline_table(DATA)
    }


def prepare_corpus(folder: Path) -> bool:
    """Generates the corpus into ``folder`` where it is missing or differs by a byte; tells whether it wrote.

    Raises:
        MachineCannot: the folder cannot be written, or its disk is full.
    """
    from biodist.data.generate import files, generate

    wanted = files()
    try:
        if all(_holds(folder / name, text) for name, text in wanted.items()):
            return False
        generate(folder)
    except OSError as error:
        raise MachineCannot(
            f"{folder}: the corpus cannot be written there ({error.strerror}). Make room, or run the command in a "
            "folder you can write to"
        ) from error
    return True


def baseline_table(folder: Path) -> list[EntityScore]:
    """Scores on ``test.tsv`` of the baselines trained on ``train.tsv``, both in ``folder``: dictionary, then linear."""
    from biodist.data.baselines import dictionary_baseline, linear_baseline, read_sentences

    train, test = read_sentences(folder / "train.tsv"), read_sentences(folder / "test.tsv")
    return [dictionary_baseline(train, test), linear_baseline(train, test)]


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()
