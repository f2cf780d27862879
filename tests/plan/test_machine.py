from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from biodist.plan.machine import Gpu, Machine, _control_groups, cores_allowed, gpus_listed, memory_allowed, visible

LISTING = """\
0, GPU-aaaa1111-0000, NVIDIA H100 80GB HBM3, 81559, 9.0
1, GPU-bbbb2222-0000, Tesla V100-SXM2-16GB, 16384, 7.0
"""


def test_here_is_this_machine() -> None:
    here = Machine.here()
    assert 1 <= here.cores <= len(os.sched_getaffinity(0))
    assert 0 < here.memory <= psutil.virtual_memory().total
    assert here.host and here.processor


def test_here_honours_the_affinity_mask() -> None:
    usable = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(usable)})
        assert Machine.here().cores == 1
    finally:
        os.sched_setaffinity(0, usable)


def test_gpus_of_nvidia_smi() -> None:
    h100, v100 = gpus_listed(LISTING)
    assert h100 == Gpu(
        index=0, uuid="GPU-aaaa1111-0000", name="NVIDIA H100 80GB HBM3", memory=81559 * 2**20, compute_capability=9.0
    )
    assert (v100.index, v100.compute_capability) == (1, 7.0)


@pytest.mark.parametrize("listing", ["", "No devices were found\n", "0, GPU-a, name, [N/A], 9.0\n", "a,b\n"])
def test_anything_else_of_nvidia_smi_is_no_gpu(listing: str) -> None:
    assert gpus_listed(listing) == ()


@pytest.mark.parametrize(
    ("chosen", "indices"),
    [
        (None, [0, 1]),
        ("", []),
        ("-1", []),
        ("1", [1]),
        ("1,0", [1, 0]),
        (" 1 , 0 ", [1, 0]),
        ("1,7,0", [1]),  # CUDA stops at the first that is not there
        ("0,0", [0]),
        ("GPU-bbbb2222-0000", [1]),
        ("GPU-bbbb", [1]),  # CUDA takes a beginning that only one has
        ("GPU-", []),
        ("1,-1,0", [1]),
    ],
)
def test_cuda_visible_devices(chosen: str | None, indices: list[int]) -> None:
    assert [gpu.index for gpu in visible(gpus_listed(LISTING), chosen)] == indices


def test_limits_of_control_groups_version_2(tmp_path: Path) -> None:
    inner = tmp_path / "cgroup" / "slurm" / "job_7"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("350000 100000\n")
    (inner / "memory.max").write_text("max\n")
    (inner.parent / "cpu.max").write_text("max 100000\n")
    (inner.parent / "memory.max").write_text(f"{8 * 2**30}\n")
    membership = tmp_path / "membership"
    membership.write_text("0::/slurm/job_7\n")
    groups = tuple(_control_groups(tmp_path / "cgroup", membership))
    assert cores_allowed(groups) == [3]
    assert memory_allowed(groups) == [8 * 2**30]


def test_limits_of_control_groups_version_1(tmp_path: Path) -> None:
    cpu, memory = tmp_path / "cgroup" / "cpu" / "job", tmp_path / "cgroup" / "memory" / "job"
    cpu.mkdir(parents=True)
    memory.mkdir(parents=True)
    (cpu / "cpu.cfs_quota_us").write_text("50000\n")
    (cpu / "cpu.cfs_period_us").write_text("100000\n")
    (cpu.parent / "cpu.cfs_quota_us").write_text("-1\n")
    (memory / "memory.limit_in_bytes").write_text(f"{2**30}\n")
    (memory.parent / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    membership = tmp_path / "membership"
    membership.write_text("4:memory:/job\n1:cpu:/job\n")
    groups = tuple(_control_groups(tmp_path / "cgroup", membership))
    assert cores_allowed(groups) == [1]  # half a core is still one
    assert memory_allowed(groups) == [2**30]


def test_no_control_groups(tmp_path: Path) -> None:
    assert tuple(_control_groups(tmp_path, tmp_path / "absent")) == ()
