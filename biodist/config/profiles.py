"""Profiles: those that come with biodist, and the user's own, which win."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from biodist.config.catalogue import PACKAGE, headline
from biodist.config.document import Document, read_document
from biodist.config.files import is_file, is_folder
from biodist.config.findings import shown_value
from biodist.config.loading import stated
from biodist.config.overrides import overridden
from biodist.config.profile import Profile
from biodist.config.profile_rules import broken_profile_rules
from biodist.errors import BiodistError, Problem, UserError

OWN = Path("~/.config/biodist/profiles")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MODEL = "cpu"  # to copy, where nothing is alike


@dataclass(frozen=True)
class ProfileSummary:
    """One profile that `--on NAME` finds."""

    name: str
    summary: str  # the first line of its head comment, or what is wrong with it
    path: Path
    is_own: bool


def packaged_profiles() -> Path:
    """Where the profiles that come with biodist lie."""
    packaged = PACKAGE / "_profiles"
    return packaged if packaged.is_dir() else PACKAGE.parent / "slurm" / "profiles"


def profile_files(own: Path = OWN) -> dict[str, Path]:
    """Name to file, by name; of two of one name the user's own."""
    found = {path.stem: path for folder in (packaged_profiles(), _home(own)) for path in sorted(folder.glob("*.yaml"))}
    return dict(sorted(found.items()))


def profile_names(own: Path = OWN) -> tuple[str, ...]:
    """What `--on` may name."""
    return tuple(profile_files(own))


def find_profile(name_or_path: str | Path, own: Path = OWN) -> Path:
    """The profile's file. What ends in `.yaml` or holds a slash is a path, anything else a name. Raises UserError."""
    text = str(name_or_path)
    path = _home(Path(text))
    if "/" in text or path.suffix in (".yaml", ".yml"):
        if is_file(path):
            return path
        what = "is a folder, not a profile" if is_folder(path) else "there is no such file"
        raise UserError(Problem(shown_value(text), what, "name a YAML file, or one that `biodist profiles` lists"))
    known = profile_files(own)
    if text in known:
        return known[text]
    close = difflib.get_close_matches(text, known, n=1, cutoff=0.5)
    do = f"did you mean {close[0]}? " if close else ""
    do += f"`biodist profiles` lists them; make your own: {_making(text, close[0] if close else _MODEL, _home(own))}"
    raise UserError(Problem(f"--on {shown_value(text)}", "there is no profile of that name", do))


def _making(name: str, model: str, folder: Path) -> str:
    """What a person types for a profile of that name, to be edited afterwards."""
    file = shlex.quote(str(folder / (f"{name}.yaml" if _NAME.fullmatch(name) else "NAME.yaml")))
    return f"mkdir -p {shlex.quote(str(folder))} && biodist profile {model} > {file}, then edit it"


def load_profile(name_or_path: str | Path, overrides: Iterable[str] = (), own: Path = OWN) -> Profile:
    """The profile of a name or a file, with the overrides in place.

    ``own`` is the folder of the user's profiles. Raises UserError that lists every problem: of the file, the
    overrides, the schema and the rules between keys.
    """
    path = find_profile(name_or_path, own)
    document = overridden(read_document(path), overrides, Profile)
    return stated(_named(document, path), Profile, broken_profile_rules)


def list_profiles(own: Path = OWN) -> tuple[ProfileSummary, ...]:
    """Every profile that a name finds; an unreadable one says so in its summary."""
    folder = _home(own)
    return tuple(
        ProfileSummary(name, _summary(path), path, is_own=path.parent == folder)
        for name, path in profile_files(own).items()
    )


def _summary(path: Path) -> str:
    try:
        read_document(path)
    except BiodistError as error:
        return str(error)
    return headline(path)


def _named(document: Document, path: Path) -> Document:
    return replace(document, values={"name": path.stem, **document.values})


def _home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # no home, or ~nobody
        return path
