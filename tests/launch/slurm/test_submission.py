"""Scripts for sbatch, to the letter. Golden ones are rewritten by `BIODIST_WRITE_GOLDEN=1 pytest` on this file.

submitit makes them with a part of it that is private: a new submitit that makes others fails here.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from biodist.config.profile import Profile
from biodist.config.profiles import load_profile, packaged_profiles
from biodist.errors import MachineCannot
from biodist.plan.decide import place_on
from biodist.plan.plan import Plan
from biodist.run.folder import RunFolder
from biodist.run.jobs import Submission
from launch.slurm.array import array_text
from launch.slurm.submission import script_text, submit

GOLDEN = Path(__file__).parent / "golden"
PACKAGED = sorted(path.stem for path in packaged_profiles().glob("*.yaml"))
JOB = Path("/runs/mednli-0a1b2c3d/jobs/0001")
ALL_KEYS = {
    **{"partition": "gpu", "account": "bio", "qos": "long", "gpus_per_node": 4, "gpu_type": "a100"},
    **{"gpu_name": "A100", "gpu_memory_gb": 80, "gpu_compute_capability": 8.0, "constraint": "ib&avx512"},
    **{"exclude": "n[7-9]", "reservation": "course", "requeue": False, "setup": ["module load cuda/12.8"]},
    **{"launcher": ["apptainer", "exec", "--nv", "/shared/my image.sif"], "sbatch": {"mail-type": "END"}},
    **{"cpus_per_process": 8, "memory_gb": 256, "time_limit_min": 2880, "signal_lead_s": 240, "exclusive": True},
}


def on_cluster(plan: Plan, profile: Profile, nodes: int) -> Plan:
    return plan.model_copy(update={"profile": profile, "machine": place_on(profile, nodes)})


def profile_of(name: str) -> Profile:
    python = {"python": "/opt/biodist/bin/python"}
    if name == "all-keys":
        return Profile.model_validate({**ALL_KEYS, **python, "name": name})
    return load_profile(packaged_profiles() / f"{name}.yaml").model_copy(update=python)


@pytest.mark.parametrize("name", [*PACKAGED, "all-keys"])
def test_golden(name: str, plan: Callable[..., Plan]) -> None:
    text = script_text(on_cluster(plan(1), profile_of(name), nodes=2), JOB, "mednli-0a1b2c3d")
    golden = GOLDEN / f"{name}.sh"
    if os.environ.get("BIODIST_WRITE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_every_golden_script_is_compared() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == {*PACKAGED, "all-keys"}
    assert len(PACKAGED) == 4


@pytest.mark.parametrize("name", [*PACKAGED, "all-keys"])
def test_bash_reads_them(name: str) -> None:
    subprocess.run(["bash", "-n", str(GOLDEN / f"{name}.sh")], check=True, timeout=30)


def test_values_of_the_profile_are_quoted(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """What bash and sbatch read is one word, whatever it holds."""
    profile = profile_of("cpu").model_copy(
        update={"constraint": "a b; touch /tmp/owned", "python": "/opt/my env/py$(x)"}
    )
    folder = tmp_path / "run of 'mine' $(touch owned)" / "jobs" / "0001"
    text = script_text(on_cluster(plan(1), profile, nodes=1), folder, "name; rm")
    option = next(line for line in text.splitlines() if line.startswith("#SBATCH --constraint="))
    assert shlex.split(option.removeprefix("#SBATCH ")) == ["--constraint=a b; touch /tmp/owned"]
    command = next(line for line in text.splitlines() if line.startswith("srun "))
    words = shlex.split(command)
    assert words[-1] == str(folder)
    assert "/opt/my env/py$(x)" in words
    assert "owned)" not in command.replace(shlex.quote(str(folder)), "").replace(
        shlex.quote(str(folder / "%j_%t_log.out")), ""
    )


def test_without_slurm_it_says_so_and_writes_no_script(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    job = RunFolder.prepare(tmp_path / "run").new_job()
    Submission(profile="cpu", nodes=1, world_size=4, command=()).save(job.submission)
    with pytest.raises(MachineCannot, match="no Slurm here"):
        submit(job, on_cluster(plan(1), profile_of("cpu"), 1), task=lambda: 0)
    assert not job.script.exists()


def test_a_plan_for_one_machine_is_refused(plan: Callable[..., Plan], tmp_path: Path) -> None:
    with pytest.raises(
        MachineCannot, match="this plan is for one machine, not for a cluster; plan it with --on PROFILE"
    ):
        script_text(plan(1), tmp_path)


def test_an_array_sends_each_task_to_the_folder_of_its_run(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """bash itself, with srun and python replaced by echo, says what each task would run, and where it writes."""
    folders = [tmp_path / f"run {name} $(x)" / "jobs" / "0001" for name in "abc"]
    for folder in folders:
        folder.mkdir(parents=True)
    listing = tmp_path / "the array"
    listing.write_text("".join(f"{folder}\n" for folder in folders))
    profile = profile_of("cpu").model_copy(update={"setup": ("export SET_UP=yes",)})
    text = array_text(on_cluster(plan(1), profile, nodes=1), folders, "three", listing)
    assert "#SBATCH --array=0-2%3" in text
    assert "#SBATCH --output=/dev/null" in text
    said = 'srun() { printf "<%s>" "$@"; echo "$SET_UP"; }\n'
    for number, folder in enumerate(folders):
        environment = {**os.environ, "SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": str(number)}
        subprocess.run(["bash", "-c", said + text], env=environment, check=True, timeout=30)
        log = (folder / f"17_{number}_0_log.out").read_text()
        assert f"<{folder}/%A_%a_%t_log.out>" in log
        assert log.rstrip().endswith(f"<-m><submitit.core._submit><{folder}>yes")
