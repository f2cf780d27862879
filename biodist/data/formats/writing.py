"""Writing documents: into a file or folder that is there whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self, cast

from biodist.data.formats.source import MODULES, DocumentFormat
from biodist.data.records import Document, Piece
from biodist.run.durable import temporary_name


class CannotHold(ValueError):
    """A format has no way to write this document: which rule it breaks, and what to do."""

    def __init__(self, what: str, do: str = ""):
        super().__init__(what)
        self.what, self.do = what, do


class DocumentWriter(Protocol):
    """Takes documents one by one. ``changed`` counts characters that had to become others (line ends, blanks).

    A context manager: what is written is in its place once it ends without an error, and gone otherwise.
    """

    changed: int

    def write(self, document: Document) -> None:
        """Raises CannotHold before anything of the document is written."""

    def __enter__(self) -> DocumentWriter: ...

    def __exit__(self, *error: object) -> None: ...


def document_writer(path: Path, format: DocumentFormat) -> DocumentWriter:
    """The writer of a format. Raises OSError where the place cannot be written."""
    module = import_module(f"biodist.data.formats.{MODULES[format]}")
    return cast(DocumentWriter, module.Writer(path))


def covered(text: str, pieces: Sequence[Piece]) -> str:
    """The text of a mention in a column of its own: line ends and tabs are blanks, and so are gaps."""
    return " ".join("".join(" " if c.isspace() else c for c in text[start:end]) for start, end in pieces)


def refuse_blank_type(kind: str) -> None:
    """Raises CannotHold for a type that a column would cut."""
    if kind.split() != [kind] or "\0" in kind:
        raise CannotHold("has a mention whose type holds a blank", "rename the type with map (--map)")


class FileWriter:
    """Base of writers of one file, which is written beside its place and renamed into it.

    A writer writes to ``_file`` and, once all went well, ends it in `_finish`.
    """

    def __init__(self, path: Path):
        self._path, self._beside = path, path.with_name(temporary_name(path.name))
        self._file: BinaryIO = self._beside.open("wb")
        self.changed = 0

    def _finish(self) -> None:
        """Writes what comes behind the last document."""

    def _release(self) -> None:
        """Lets go of what else holds the file, well or not."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
            self._release()
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._beside.replace(self._path)
        finally:
            self._file.close()
            self._beside.unlink(missing_ok=True)


class FolderOut:
    """A folder written beside its place and renamed into it; the place must be empty or not there."""

    def __init__(self, path: Path):
        self._path, self.here = path, path.with_name(temporary_name(path.name))
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise FileExistsError(17, "is there already, and no empty folder", str(path))
        self.here.mkdir(parents=True)

    def close(self, well: bool) -> None:
        """Ends the folder: into its place, or away."""
        if well:
            self.here.replace(self._path)
        else:
            shutil.rmtree(self.here, ignore_errors=True)
