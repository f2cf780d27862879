"""Where profiles are found, and every profile that comes with biodist."""

from __future__ import annotations

from pathlib import Path

import pytest

from biodist.config.profiles import find_profile, list_profiles, load_profile, packaged_profiles, profile_names
from biodist.errors import UserError

PROFILES = sorted(packaged_profiles().rglob("*.yaml"))
MINE = "# Mine\nmemory_gb: 8\ntime_limit_min: 10\n"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's profiles, in a folder that the current one is not."""
    (tmp_path / "own").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "own"


def refusal(name: str, own: Path) -> str:
    with pytest.raises(UserError) as caught:
        find_profile(name, own)
    (problem,) = caught.value.problems
    return str(problem)


def test_there_are_four_profiles() -> None:
    assert [path.stem for path in PROFILES] == ["a100x8", "cpu", "devcluster", "h100x8"]


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_profile_loads_and_its_head_says_what_it_is_for(path: Path, own: Path) -> None:
    profile = load_profile(path)
    assert profile == load_profile(path.stem, own=own) and profile.name == path.stem
    (summary,) = [one for one in list_profiles(own) if one.path == path]
    assert summary.summary and not summary.is_own
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert len(head) > 3 and all(len(line) <= 120 for line in head)


def test_the_development_cluster_is_as_it_is_brought_up() -> None:
    profile = load_profile("devcluster")
    assert (profile.partition, profile.gpus_per_node, profile.processes, profile.cpus_per_process) == ("low", 2, 2, 1)
    assert (profile.trains_on, profile.grace_s, profile.network_interface) == ("cpu", 30, "lo")


def test_the_users_own_win_and_others_come_to_them(own: Path) -> None:
    (own / "cpu.yaml").write_text(MINE)
    (own / "lab.yaml").write_text(MINE)
    assert load_profile("cpu", own=own).memory_gb == 8
    assert find_profile("lab", own) == own / "lab.yaml"
    assert profile_names(own) == ("a100x8", "cpu", "devcluster", "h100x8", "lab")
    assert [one.name for one in list_profiles(own) if one.is_own] == ["cpu", "lab"]


def test_a_path_is_what_looks_like_one(own: Path) -> None:
    Path("here.yaml").write_text(MINE)
    Path("cpu").write_text("not a profile")
    for name in ("here.yaml", "./here.yaml", Path("here.yaml").absolute()):
        assert load_profile(name, own=own).name == "here"
    assert find_profile("cpu", own).parent == packaged_profiles()
    assert refusal("./cpu.yaml", own) == (
        "./cpu.yaml: there is no such file (name a YAML file, or one that `biodist profiles` lists)"
    )
    assert refusal("../work", own).startswith("../work: is a folder, not a profile")


def test_the_nearest_name_is_given(own: Path) -> None:
    (own / "lab-gpu.yaml").write_text(MINE)
    assert refusal("devclustr", own) == (
        "--on devclustr: there is no profile of that name "
        f"(did you mean devcluster? `biodist profiles` lists them; make your own: mkdir -p {own} && "
        f"biodist profile devcluster > {own}/devclustr.yaml, then edit it)"
    )
    assert "did you mean lab-gpu?" in refusal("labgpu", own)
    said = refusal("qqqqqq; rm -r x", own)
    assert "did you mean" not in said and f"biodist profile cpu > {own}/NAME.yaml" in said


@pytest.mark.parametrize("name", ["", "x" * 5000, "a\0b", "/" + "x" * 5000, "a\0/b"])
def test_a_name_that_is_nothing_is_refused(name: str, own: Path) -> None:
    assert refusal(name, own)


def test_an_unreadable_profile_is_listed_with_its_fault(own: Path) -> None:
    (own / "broken.yaml").write_text("a: [\n")
    (summary,) = [one for one in list_profiles(own) if one.name == "broken"]
    assert "is not YAML" in summary.summary
    with pytest.raises(UserError, match="is not YAML"):
        load_profile("broken", own=own)


def test_there_need_be_no_folder_of_ones_own(tmp_path: Path) -> None:
    assert profile_names(tmp_path / "absent") == tuple(path.stem for path in PROFILES)


def test_a_name_that_no_profile_can_have_is_refused(own: Path) -> None:
    (own / "my lab.yaml").write_text(MINE)
    with pytest.raises(UserError, match=r"my lab\.yaml name: must be text, .* but is my lab"):
        load_profile("my lab", own=own)
    (own / "my lab.yaml").write_text(MINE + "name: lab\n")
    assert load_profile("my lab", own=own).name == "lab"
