"""`biodist profiles` and `biodist profile`, in an application of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from biodist.cli.profiles import own_profiles, profile, profiles
from biodist.config.profile import Profile
from biodist.config.profiles import packaged_profiles
from biodist.config.reference import schema_markdown
from biodist.config.schema import keys
from biodist.errors import UserError

app = typer.Typer()
app.command()(profiles)
app.command()(profile)


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's own profiles, with one in it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "biodist" / "profiles"
    folder.mkdir(parents=True)
    (folder / "lab.yaml").write_text("# The lab's nodes\nmemory_gb: 8\ntime_limit_min: 10\n")
    return folder


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_profiles_are_listed_with_their_origin_and_summary() -> None:
    lines = said("profiles").splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["a100x8", "cpu", "devcluster", "h100x8", "lab"]
    assert lines[-1].rstrip().endswith("your own  The lab's nodes")


def test_json_names_the_files(own: Path) -> None:
    rows = json.loads(said("profiles", "--json"))
    assert all(set(row) == {"name", "summary", "own", "path"} and Path(row["path"]).is_file() for row in rows)
    assert [row["path"] for row in rows if row["own"]] == [str(own / "lab.yaml")]


def test_a_profile_is_printed_as_it_is(own: Path) -> None:
    assert said("profile", "a100x8") == (packaged_profiles() / "a100x8.yaml").read_text("utf-8")
    assert said("profile", "lab") == (own / "lab.yaml").read_text("utf-8")


def test_the_schema_shows_every_key() -> None:
    shown = {line.split(" ")[0] for line in said("profile", "--schema").splitlines()}
    assert {key.name for key in keys(Profile)} <= shown
    assert said("profile", "--schema", "--markdown") == schema_markdown(Profile)


@pytest.mark.parametrize("arguments", [[], ["cpu", "--schema"], ["cpu", "--markdown"], ["none"]])
def test_other_uses_are_refused(arguments: list[str]) -> None:
    with pytest.raises(UserError):
        CliRunner().invoke(app, ["profile", *arguments], catch_exceptions=False)


@pytest.mark.parametrize("shared", ["", "relative/config"])
def test_the_home_where_the_shared_folder_is_none(shared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", shared)
    assert own_profiles() == tmp_path / ".config" / "biodist" / "profiles"
