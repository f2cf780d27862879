"""A profile: types by the schema, rules between keys, every problem at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biodist.config.profile import Profile
from biodist.config.profiles import load_profile
from biodist.config.reference import schema_markdown
from biodist.config.schema import keys, slot_at
from biodist.config.writing import profile_yaml
from biodist.errors import UserError

DOCS = Path(__file__).parents[2] / "docs" / "profiles.md"
GPU = """\
partition: gpu
gpus_per_node: 4
gpu_memory_gb: 80
cpus_per_process: 8
memory_gb: 256
time_limit_min: 60
setup: [module load cuda/12]
environment: {NCCL_DEBUG: WARN}
sbatch: {mail-type: END, contiguous: true}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "gpu.yaml").write_text(GPU)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems(*overrides: str, path: str = "gpu.yaml") -> list[str]:
    with pytest.raises(UserError) as caught:
        load_profile(path, overrides)
    assert caught.value.exit_code == 2
    return [str(problem) for problem in caught.value.problems]


def test_the_schema_makes_text_what_it_should_be(folder: Path) -> None:
    profile = load_profile("gpu.yaml", ["rendezvous_ports=[20000, 20100]", "exclusive=true", "launcher=[nice, -n, 5]"])
    assert (profile.name, profile.gpus_per_node, profile.memory_gb) == ("gpu", 4, 256.0)
    assert (profile.rendezvous_ports, profile.exclusive) == ((20000, 20100), True)
    assert profile.launcher == ("nice", "-n", "5")
    assert profile.environment == {"NCCL_DEBUG": "WARN"}
    assert profile.sbatch_options() == {"mail-type": "END", "contiguous": True}
    assert load_profile("gpu.yaml", ["name=other"]).name == "other"


def test_what_follows_from_the_keys(folder: Path) -> None:
    gpu = load_profile("gpu.yaml")
    assert (gpu.trains_on, gpu.processes, gpu.has_stand_in_gpus) == ("cuda", 4, False)
    assert [gpu.gpus_of(processes) for processes in (1, 4)] == [1, 4]
    stand_in = load_profile("gpu.yaml", ["device=cpu", "processes_per_node=3"])
    assert (stand_in.trains_on, stand_in.processes, stand_in.has_stand_in_gpus) == ("cpu", 3, True)
    assert stand_in.gpus_of(1) == 4
    plain = load_profile("gpu.yaml", ["gpus_per_node=0"])
    assert (plain.trains_on, plain.processes, plain.has_stand_in_gpus, plain.gpus_of(1)) == ("cpu", 1, False, 0)


def test_memory_as_slurm_counts_it_is_never_more(folder: Path) -> None:
    assert load_profile("gpu.yaml", ["memory_gb=4"]).memory_mib == 3814
    for gb in ("0.5", "1.048576", "256", "0.0000001"):
        profile = load_profile("gpu.yaml", [f"memory_gb={gb}"])
        assert profile.memory_mib == 1 or profile.memory_mib * 2**20 <= profile.memory_gb * 10**9


def test_every_problem_of_file_overrides_and_rules_comes_at_once(folder: Path) -> None:
    (folder / "bad.yaml").write_text(
        GPU.replace("partition: gpu", "partitoin: gpu")
        .replace("time_limit_min: 60", "time_limit_min: 1h\nsignal_lead_s: 0")
        .replace("gpu_memory_gb: 80\n", "processes_per_node: 5\n")
        .replace("NCCL_DEBUG", "RANK")
    )
    assert problems("node=2", "sbatch.mem=5G", path="bad.yaml") == [
        "override node=2: node is not a key of a profile (did you mean nodes?)",
        "bad.yaml:6 time_limit_min: must be a whole number, at least 1, but is 1h",
        "bad.yaml:7 signal_lead_s: must be a whole number, at least 1, at most 65535, but is 0",
        "bad.yaml:1 partitoin: partitoin is not a key of a profile (did you mean partition?)",
        "bad.yaml gpu_memory_gb: is required for training on GPUs "
        "(give the memory of one GPU in GB, or device: cpu where ranks do not use them)",
        "bad.yaml:3 processes_per_node: 5 is more than gpus_per_node (4): a rank needs a GPU (set 4, or auto)",
        "bad.yaml:9 environment.RANK: RANK is set for every rank (remove it)",
        "override sbatch.mem=5G: --mem follows from memory_gb (remove it here, and set memory_gb)",
    ]


def test_an_empty_profile_names_what_it_needs(folder: Path) -> None:
    (folder / "bare.yaml").write_text("partition: gpu\n")
    assert problems(path="bare.yaml") == [
        "bare.yaml memory_gb: is required (add it: Memory that a job asks for on each node.)",
        "bare.yaml time_limit_min: is required (add it: Minutes after which Slurm ends the job.)",
    ]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("gpus_per_node=-1", "must be a whole number, at least 0, but is -1"),
        ("processes_per_node=some", "must be a whole number, at least 1 or auto, but is some"),
        ("device=tpu", "must be one of auto, cpu, cuda, but is tpu"),
        ("memory_gb=256GB", "must be a number, above 0, but is 256GB"),
        ("memory_gb=256000000", "2.56e+08 GB is more than any node has (give GB: 512000 MB are 512)"),
        ("time_limit_min=31536000", "31536000 minutes are more than 365 days (give minutes: 1440 are a day)"),
        ("signal_lead_s=3600", "3600 must be below the time limit (3600 s), or no step is ever trained"),
        ("grace_s=-5", "must be a whole number, at least 0, but is -5"),
        ("requeue=maybe", "must be true or false, but is maybe"),
        ("python=venv/bin/python", "must be a path from the root, but is venv/bin/python"),
        ("scratch_folder=tmp", "must be a path from the root, but is tmp"),
        ("scratch_folder=/tmp/{jobs}", "/tmp/{jobs} holds braces that nothing replaces ({job} and {user} are"),
        ("scratch_folder=/tmp/${job", "/tmp/${job holds braces that nothing replaces"),
        ("environment.MASTER_PORT=1", "MASTER_PORT is set for every rank (remove it)"),
        ("environment.OMP_NUM_THREADS=2", "OMP_NUM_THREADS is set for every rank (remove it: cpus_per_process decides"),
        ("environment.NCCL_SOCKET_IFNAME=ib0", "set for every rank (remove it: network_interface decides it)"),
        ("environment.A-B=1", "A-B cannot name a variable"),
        ("environment.1A=1", "1A cannot name a variable"),
        ("sbatch.gres=gpu:4", "--gres follows from gpus_per_node and gpu_type"),
        ("sbatch.no-requeue=true", "--no-requeue follows from requeue"),
        ("sbatch.array=0-3", "--array is biodist's own to set (remove it)"),
        ("sbatch={--mail-type: END}", "--mail-type is not the long name of an option, without its dashes"),
        ("sbatch.cpus_per_task=3", "not the long name of an option, without its dashes (--cpus-per-task follows from"),
        ("sbatch.p=gpu", "p is not the long name of an option"),
        ('setup=["a\\nb"]', "holds line ends or control characters (give each line as an item of its own)"),
        ('partition="a\\nb"', "holds line ends or control characters (remove them)"),
        ("rendezvous_ports=[30000, 20000]", "the last port (20000) must be above the first (30000)"),
        ("rendezvous_ports=[80, 90]", "must be a whole number, at least 1024, at most 65535, but is 80"),
        ("name=../x", "must be text, of at most 100, matching"),
    ],
)
def test_a_value_that_cannot_be(folder: Path, override: str, said: str) -> None:
    found = problems(override)
    assert any(problem.startswith(f"override {override}") and said in problem for problem in found), found


def test_rules_that_need_two_keys(folder: Path) -> None:
    assert problems("gpus_per_node=0", "device=cuda") == [
        "override gpus_per_node=0: is 0, but device is cuda (give the GPUs of a node, or set device: cpu)"
    ]
    assert problems("gpus_per_node=0", "gpu_type=a100") == [
        "override gpu_type=a100: is a100, but gpus_per_node is 0 (remove one of the two)"
    ]
    # Where ranks leave the GPUs alone, neither their memory nor their number limits anything.
    free = load_profile("gpu.yaml", ["device=cpu", "gpu_memory_gb=null", "processes_per_node=16"])
    assert free.processes == 16


def test_a_refused_value_is_no_reason_for_a_second_complaint(folder: Path) -> None:
    assert len(problems("gpus_per_node=many", "device=cuda")) == 1
    assert len(problems("time_limit_min=1h", "signal_lead_s=4000")) == 1


def test_written_and_loaded_again_it_is_the_same(folder: Path) -> None:
    extra = ["launcher=[apptainer, exec, image.sif]", "grace_s=30", "environment.A=null_", "setup=['# ü: x', 'no']"]
    profile = load_profile("gpu.yaml", extra)
    (folder / "profile.yaml").write_text(profile_yaml(profile), "utf-8")
    assert load_profile("./profile.yaml") == profile


def test_every_key_is_described_and_the_docs_hold_the_table() -> None:
    for key in keys(Profile):
        assert key.description.endswith(".") and key.expects and key.default, key
        assert slot_at(tuple(key.name.split(".")), Profile), key
    # When this fails: `biodist profile --schema --markdown` prints the table that docs/profiles.md must end with.
    assert DOCS.read_text("utf-8").endswith("\n\n" + schema_markdown(Profile))


names = st.sampled_from([key.name for key in keys(Profile)] + ["setup.0", "sbatch.x", "environment.X", "launcher.1"])
values = st.sampled_from(["", "x", "-1", "3", "0.5", "[]", "{}", "[{}]", "[x, 1]", "{mem: 1}", "null", "cpu", "cuda"])


@given(st.lists(st.tuples(names, values | st.text(max_size=6)), max_size=5))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_overrides_give_a_profile_or_named_problems(folder: Path, pairs: list[tuple[str, str]]) -> None:
    try:
        profile = load_profile("gpu.yaml", [f"{name}={value}" for name, value in pairs])
    except UserError as error:
        assert error.problems and all(problem.what for problem in error.problems)
        assert len(set(error.problems)) == len(error.problems)
    else:
        assert Profile.model_validate(profile.model_dump()) == profile
