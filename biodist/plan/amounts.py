"""Amounts in words."""

from __future__ import annotations


def size_of(size: int) -> str:
    """Bytes for a person: 12.3 MB, 1.31 GB."""
    return f"{size / 1e9:.2f} GB" if size >= 10**9 else f"{size / 1e6:.1f} MB"


def count_of(number: int, one: str, many: str) -> str:
    """A number with its noun: 1 window, 1,200 windows."""
    return f"{number:,} {one if number == 1 else many}"
