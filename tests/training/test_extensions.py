"""DeepSpeed's native code: compiled when it is not there, refused with a sentence where it cannot be."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from biodist.errors import MachineCannot
from biodist.plan.plan import Plan
from biodist.training.extensions import COLLECTIVE, CPU_ADAM, Extension, build, needed


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of compiled code with nothing in it."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("extension", "by", "instead"),
    [(COLLECTIVE, "ZeRO on a CPU", "strategy=ddp"), (CPU_ADAM, "distributed.offload=cpu", "offload=none")],
    ids=["collective", "optimizer"],
)
def test_no_compiler_is_said(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, extension: Extension, by: str, instead: str
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    said: list[str] = []
    with pytest.raises(MachineCannot) as refused:
        build(extension, said.append)
    text = str(refused.value)
    assert by in text and "no-such-compiler" in text and "install one" in text and instead in text
    assert said == []


def test_a_compiler_that_fails_is_said(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "false")
    said: list[str] = []
    with pytest.raises(MachineCannot, match=r"could not be compiled in .*distributed\.offload=none"):
        build(CPU_ADAM, said.append)
    assert said == ["compiling DeepSpeed's CPU optimizer, once (about a minute)"]


def test_the_mark_of_a_killed_compilation_is_no_obstacle(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed while it compiles or loads leaves torch's `lock`; the next would wait for ever."""
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(MachineCannot):
        build(COLLECTIVE, lambda line: None)
    (folder,) = elsewhere.glob("biodist-*/deepspeed_shm_comm")
    (folder / "lock").touch()
    with pytest.raises(MachineCannot, match="could not be compiled"):
        build(COLLECTIVE, lambda line: None)
    assert not (folder / "lock").exists()
    assert not list(elsewhere.glob("deepspeed_shm_comm/*")), "another program's folder is not ours to clear"
    assert os.environ["TORCH_EXTENSIONS_DIR"] == str(elsewhere)


def test_a_plan_needs_what_it_calls(plans: Callable[..., Plan]) -> None:
    assert needed(plans(2)) == ()
    assert needed(plans(2, strategy="zero2")) == (COLLECTIVE,)
    offloaded = plans(2, strategy="zero3", offload="cpu")
    assert needed(offloaded) == (COLLECTIVE, CPU_ADAM)
    on_gpus = offloaded.model_copy(update={"machine": offloaded.machine.model_copy(update={"device": "cuda"})})
    assert needed(on_gpus) == (CPU_ADAM,)
