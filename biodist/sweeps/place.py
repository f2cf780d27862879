"""Where the trials of a sweep run, as it was asked for; kept in the sweep's folder for those that take it up."""

from __future__ import annotations

from typing import Literal

from biodist.run.records import Record

RAY = "ray"  # what `--on` calls a Ray cluster


class Place(Record):
    """`place.json`. `on`: a profile's name or file; None: this machine."""

    kind: Literal["local", "slurm", "ray"]
    on: str | None = None
    nodes: int | None = None
    nproc: int | None = None
    device: str = "auto"

    @property
    def where(self) -> str:
        """For a person."""
        return "on this machine" if self.on is None else f"with --on {self.on}"

    def options(self) -> tuple[str, ...]:
        """As a person types them."""
        words: tuple[str, ...] = ("--on", self.on) if self.on else ()
        words += ("--nodes", str(self.nodes)) if self.nodes else ()
        words += ("--nproc", str(self.nproc)) if self.nproc else ()
        return words + (("--device", self.device) if self.device != "auto" else ())
