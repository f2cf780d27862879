"""The wheel, installed away from the clone, carries its recipes and profiles."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CLONE = Path(__file__).parents[1]
LIST = "from biodist.config.catalogue import list_recipes; print([one.name for one in list_recipes()])"
LOAD = "from biodist.config.loading import load_recipe; print(load_recipe('quickstart', check_files=False).name)"
WHERE = "import biodist, launch; print(biodist.__file__); print(launch.__file__)"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(CLONE)]
    subprocess.run(build, check=True, timeout=120, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(folder), str(wheel)]
    subprocess.run(install, check=True, timeout=120, capture_output=True)
    return folder


def run(site: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=site.parent, env=environment, timeout=60, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(240)
def test_the_wheel_holds_recipes_profiles_and_both_packages(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"biodist/_recipes/ncbi-disease.yaml", "biodist/_recipes/quickstart.yaml"} <= names
    assert {"biodist/_profiles/README.md", "biodist/cli/app.py", "launch/__init__.py"} <= names
    assert {"biodist/report/plotly/plotly-basic.min.js", "biodist/report/plotly/LICENSE"} <= names
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


@pytest.mark.timeout(240)
def test_an_installed_wheel_lists_and_loads_its_own_recipes(site: Path) -> None:
    assert all(line.startswith(str(site)) for line in run(site, "-c", WHERE).splitlines())
    recipes = sorted(path.stem for path in (CLONE / "recipes").glob("*.yaml"))
    assert run(site, "-c", LIST).strip() == str(recipes)
    assert run(site, "-c", LOAD).strip() == "quickstart"


@pytest.mark.timeout(240)
def test_the_command_of_an_installed_wheel_lists_its_recipes(site: Path) -> None:
    command = site / "bin" / "biodist"
    assert command.is_file()
    listed = run(site, str(command), "recipes")
    assert "ncbi-disease" in listed and "quickstart" in listed
