"""Tag schemes: from a sentence's tags to its mentions, and what is broken on the way.

A tag is a pair (prefix, type); outside of mentions it is ``OUTSIDE``. A broken sequence always has one reading here,
the one `seqeval` has too: a tag that continues nothing begins a mention. Whether that reading is accepted (and
counted) or refused is the reader's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from biodist.data.records import Entity

Tag = tuple[str, str]

OUTSIDE: Tag = ("O", "")
PREFIXES = {"iob": "BI", "iob2": "BI", "conll": "BI", "iobes": "BIES"}


@dataclass(frozen=True, slots=True)
class Break:
    """A tag that does not follow from the one before it: the token's place in its sentence, and the rule."""

    token: int
    rule: str


@dataclass(slots=True)
class Mentions:
    """The mentions of one sentence, in order, and the breaks met while reading them."""

    entities: list[Entity] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)


def parse_tag(text: str, prefixes: str) -> Tag | None:
    """``B-Disease`` -> ("B", "Disease"); None for what is no tag of a scheme with these prefixes."""
    if text == "O":
        return OUTSIDE
    prefix, dash, kind = text.partition("-")
    if dash and kind and len(prefix) == 1 and prefix in prefixes:
        return prefix, kind
    return None


def iob2_mentions(tags: Sequence[Tag]) -> Mentions:
    """Mentions of an IOB2 sentence: B- begins, I- continues a mention of its own type."""
    found = Mentions()
    if tags.count(OUTSIDE) == len(tags):
        return found
    start, kind = -1, ""
    for token, (prefix, tag_kind) in enumerate(tags):
        if prefix == "I" and kind == tag_kind:
            continue
        if prefix == "I":
            rule = "I- changes the type inside a mention" if kind else "I- without B- before it"
            found.breaks.append(Break(token, rule))
        if kind:
            found.entities.append(Entity(start, token, kind))
        start, kind = token, tag_kind
    if kind:
        found.entities.append(Entity(start, len(tags), kind))
    return found


def iobes_mentions(tags: Sequence[Tag]) -> Mentions:
    """Mentions of an IOBES sentence: B- I- … E- for several tokens, S- for one."""
    found = Mentions()
    start, kind = -1, ""
    for token, (prefix, tag_kind) in enumerate(tags):
        if prefix in "IE" and kind == tag_kind:
            if prefix == "E":
                found.entities.append(Entity(start, token + 1, kind))
                kind = ""
            continue
        if kind:
            rule = f"{prefix}- changes the type inside a mention" if prefix in "IE" else "mention without E- at its end"
            found.breaks.append(Break(token if prefix in "IE" else token - 1, rule))
            found.entities.append(Entity(start, token, kind))
        elif prefix in "IE":
            found.breaks.append(Break(token, f"{prefix}- without B- before it"))
        start, kind = token, tag_kind
        if prefix in "SE":
            found.entities.append(Entity(token, token + 1, tag_kind))
            kind = ""
    if kind:
        found.breaks.append(Break(len(tags) - 1, "mention without E- at its end"))
        found.entities.append(Entity(start, len(tags), kind))
    return found


def iob2_labels(types: Sequence[str]) -> tuple[str, ...]:
    """What a classifier's outputs mean: O, then B-X and I-X for each type in order."""
    return ("O", *(f"{prefix}-{kind}" for kind in types for prefix in "BI"))
