"""``biodist predict``: what a finished run's model finds in a file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal, cast, get_args

import typer
from rich.progress import BarColumn, Progress, TextColumn

from biodist.cli.corpus_options import span_fields
from biodist.cli.named_run import named_run
from biodist.cli.say import err, out
from biodist.errors import MachineCannot, Problem, RunFailed, Stopped, UserError

if TYPE_CHECKING:
    from biodist.data.prediction_parts import PredictionJob, PredictionParts
    from biodist.run.folder import RunFolder

InFormat = Literal["text", "lines", "iob", "iob2", "iobes", "conll", "brat", "pubtator", "bioc", "jsonl", "bigbio"]
OutFormat = Literal["iob2", "iobes", "brat", "pubtator", "bioc", "jsonl", "bigbio"]
BY_SUFFIX: dict[str, InFormat] = {
    ".txt": "text", ".tsv": "iob", ".iob": "iob", ".iob2": "iob", ".conll": "conll", ".jsonl": "jsonl", ".xml": "bioc",
    ".json": "bioc", ".pubtator": "pubtator", ".parquet": "bigbio", "": "text",
}  # fmt: skip
SUFFIXES: dict[OutFormat, str] = {
    "iob2": ".tsv", "iobes": ".tsv", "brat": "", "pubtator": ".pubtator", "bioc": ".xml", "jsonl": ".jsonl",
    "bigbio": ".parquet",
}  # fmt: skip
LOOK_EVERY_S = 0.2
LINE_EVERY_S = 10.0
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
LAST_LINES = 8


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run of task ner.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to read; a folder of .txt files too.")],
    to: Annotated[
        Path | None, typer.Option("--out", help="What to write; <FILE's name>.predicted.* here when not given.")
    ] = None,
    format: Annotated[
        InFormat | None,
        typer.Option(help="How FILE is written; by its name when not given. lines: each line is a document."),
    ] = None,
    written: Annotated[
        OutFormat | None, typer.Option("--to", help="How to write; as FILE, and of texts as jsonl, when not given.")
    ] = None,
    fields: Annotated[str, typer.Option(help="What fields of JSON lines are called: id=pmid,text=abstract.")] = "",
    nproc: Annotated[int | None, typer.Option(min=1, help="Processes; the number of GPUs, or 1.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Finds entities in a file: character offsets, type and score of each, written in the same format.

    Marks that FILE has already must be sound, but are not used. Stopped (Ctrl-C, a signal, a kill), the same command
    goes on where it was: parts are kept beside the output until it is whole.
    """
    from biodist.data.prediction_parts import PredictionParts

    folder = _finished(run)
    read = format or _format_of(file)
    chosen = written or _same(read)
    target = to if to is not None else _target(file, read, chosen)
    if target.exists():
        raise UserError(Problem(f"--out {target}", "is there already", "name another, or remove it"))
    parts = PredictionParts(target.with_name(f"{target.name}.parts"))
    with _heard() as stop:
        try:
            job = _job(folder, file, read, fields)
            parts.begin(job)
            _make(parts, job, nproc, stop)
            mentions = _join(parts, target, chosen, folder)
        except OSError as error:
            raise MachineCannot(f"cannot write {target}: {error.strerror or type(error).__name__}") from error
    if as_json:
        said = {"out": str(target), "format": chosen, "documents": job.documents, "mentions": mentions}
        typer.echo(json.dumps(said, indent=2))
    else:
        out.print(f"{mentions:,} mentions in {job.documents:,} documents: {target}")


# --- what is to be done ------------------------------------------------------------------------------------------


def _finished(path: Path) -> RunFolder:
    """The run, found fit to predict without torch. Raises UserError."""
    from biodist.plan.plan import read_plan

    run = named_run(path)
    if not run.model.is_dir() or not run.attempts():
        raise UserError(
            Problem(str(path), "has no model yet (no model folder)", "run `biodist train` on it to its end")
        )
    task = read_plan(run.attempts()[-1].plan).recipe.task
    if task != "ner":
        what = f"is a run of task {task}, which finds no entities"
        raise UserError(Problem(str(path), what, "`biodist evaluate` scores it"))
    return run


def _format_of(file: Path) -> InFormat:
    suffix = "" if file.is_dir() else file.suffix.lower()
    if suffix not in BY_SUFFIX:
        what = f"does not say by its name ({suffix}) how it is written"
        raise UserError(Problem(str(file), what, f"give --format, one of {', '.join(get_args(InFormat))}"))
    return BY_SUFFIX[suffix]


def _same(read: InFormat) -> OutFormat:
    if read in ("text", "lines"):
        return "jsonl"
    return "iob2" if read in ("iob", "iob2", "conll") else cast(OutFormat, read)


def _target(file: Path, read: InFormat, written: OutFormat) -> Path:
    """A file here; BioC is JSON where FILE is."""
    is_json = read == written == "bioc" and file.suffix.lower() == ".json"
    return Path(f"{file.absolute().stem}.predicted{'.json' if is_json else SUFFIXES[written]}")


def _job(run: RunFolder, file: Path, format: str, fields: str) -> PredictionJob:
    """Reads the file once without the model: its problems are known, and counted, before anything is predicted."""
    from biodist.data.fingerprint import source_digest
    from biodist.data.prediction_parts import PredictionJob, weights_digest
    from biodist.data.untagged import chunks

    place = str(file.absolute()) if file.exists() else str(file)
    weights = weights_digest(run.model)
    job = PredictionJob(place, format, span_fields(fields).model_dump(), "", str(run.root), weights, 0, 0)
    counted = documents = 0
    for chunk in chunks(job.source()):
        counted, documents = counted + 1, documents + len(chunk)
    content = source_digest(job.source())
    return PredictionJob(place, format, job.fields, content, job.run, weights, counted, documents)


# --- processes ---------------------------------------------------------------------------------------------------


class _Wish:
    """Whether a signal asked to stop."""

    name = ""


@contextmanager
def _heard() -> Iterator[_Wish]:
    """While it lasts, the first request to stop is noted; a second one ends the command at once."""
    wish = _Wish()

    def note(number: int, frame: FrameType | None) -> None:
        if wish.name:
            raise KeyboardInterrupt
        wish.name = signal.Signals(number).name

    before = {number: signal.signal(number, note) for number in STOPPING}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _make(parts: PredictionParts, job: PredictionJob, nproc: int | None, stop: _Wish) -> None:
    """Makes every part that is missing.

    Raises Stopped where a signal came: what is there stays. Raises RunFailed with the first process that failed.
    """
    from biodist.plan.decide import place
    from biodist.plan.machine import Machine
    from launch.environment import worker_environment

    if parts.made() >= job.chunks:
        return
    machine = place(Machine.here(), nproc, "auto")
    environment = worker_environment(os.environ, machine)
    processes: list[subprocess.Popen[bytes]] = []
    with ExitStack() as ending:
        ending.callback(_end, processes)
        for rank in range(machine.world_size):
            command = [
                *(sys.executable, "-m", "biodist.training.prediction", "--parts", str(parts.folder.absolute())),
                *("--rank", str(rank), "--world-size", str(machine.world_size), "--parent", str(os.getpid())),
                *("--threads", str(machine.threads_per_process)),
            ]
            log = ending.enter_context(_log(parts, rank).open("wb"))
            # In a session of its own: Ctrl-C reaches this process alone, which then ends the others.
            started = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
            processes.append(started)
        _watch(parts, job, processes, stop)


def _watch(parts: PredictionParts, job: PredictionJob, processes: list[subprocess.Popen[bytes]], stop: _Wish) -> None:
    with _Bar(job) as bar:
        while any(process.poll() is None for process in processes):
            bar.show(parts.made())
            _judge(parts, processes)
            if stop.name:
                done = f"{parts.made():,} of {job.chunks:,} parts are kept in {parts.folder}"
                raise Stopped(f"{stop.name}: stopped; {done}; the same command goes on with them")
            time.sleep(LOOK_EVERY_S)
        _judge(parts, processes)
        bar.show(parts.made())


def _judge(parts: PredictionParts, processes: list[subprocess.Popen[bytes]]) -> None:
    for rank, process in enumerate(processes):
        if process.returncode:
            log = _log(parts, rank)
            last = "\n".join(f"  {line}" for line in log.read_text(errors="replace").splitlines()[-LAST_LINES:])
            what = f"process {rank} ended with {process.returncode}; parts made before are kept"
            raise RunFailed(f"{what}; its last lines, of {log}:\n{last}")


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ends what still runs: parts are whole or not there."""
    for process in processes:
        if process.poll() is None:
            process.kill()
    for process in processes:
        process.wait()


def _log(parts: PredictionParts, rank: int) -> Path:
    return parts.folder / f"rank-{rank}.log"


class _Bar:
    """How far it is: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, job: PredictionJob):
        self._chunks = job.chunks
        columns = (TextColumn("predicting"), BarColumn(), TextColumn("{task.completed}/{task.total} parts"))
        self._bar = Progress(*columns, console=err, disable=not err.is_terminal, transient=True)
        self._task = self._bar.add_task("", total=job.chunks)
        self._next = time.monotonic() + LINE_EVERY_S

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def show(self, made: int) -> None:
        """``made`` parts are there."""
        self._bar.update(self._task, completed=made)
        if not err.is_terminal and time.monotonic() >= self._next:
            err.print(f"predicting: {made:,} of {self._chunks:,} parts")
            self._next = time.monotonic() + LINE_EVERY_S

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


# --- the output --------------------------------------------------------------------------------------------------


def _join(parts: PredictionParts, target: Path, format: OutFormat, run: RunFolder) -> int:
    """Puts the parts together, in order, and removes them; how many mentions there are."""
    from biodist.config.loading import load_recipe
    from biodist.data.prediction_output import write_predictions
    from biodist.run.durable import remove_tree

    if load_recipe(str(run.recipe), check_files=False).data.sensitive:
        os.umask(0o077)  # the output is its owner's alone, from its first byte on
    mentions = write_predictions(parts, target, format)
    remove_tree(parts.folder)
    return mentions
