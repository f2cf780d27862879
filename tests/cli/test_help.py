"""`--help` of every command: it works, and names every argument and option."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

import biodist
from biodist.cli.app import app

pytestmark = pytest.mark.timeout(120)


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


COMMANDS = list(commands(typer.main.get_command(app)))


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) or "biodist" for path, _ in COMMANDS])
def test_help_names_everything_a_command_takes(desk: Any, path: tuple[str, ...], command: Any) -> None:
    said = desk.run(*path, "--help")
    assert said.code == 0 and said.err == "", said.err
    names = [
        option for parameter in command.params if parameter.param_type_name == "option" for option in parameter.opts
    ]
    assert "--help" in said.out and [name for name in names if name not in said.out] == []
    for parameter in command.params:
        assert getattr(parameter, "help", None) or parameter.name == "help", f"{parameter.name} says nothing of itself"
    for name, below in getattr(command, "commands", {}).items():
        assert f"  {name} " in said.out and below.help, f"{name} says nothing of itself"


def test_the_commands_of_this_version_are_there() -> None:
    there = {path[0] for path, _ in COMMANDS if path}
    assert there >= {"train", "resume", "plan", "evaluate", "checkpoints", "export", "data", "recipes", "recipe"}


def test_version_and_unknown_commands(desk: Any) -> None:
    said = desk.run("--version")
    assert said.code == 0 and said.out == f"biodist {biodist.__version__}\n"
    unknown = desk.run("trian")
    assert unknown.code == 2 and "trian" in unknown.err and "Traceback" not in unknown.err
    assert desk.run("train", "--nproc", "0", "tiny.yaml").code == 2
