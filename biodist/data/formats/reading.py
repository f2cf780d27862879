"""The one pass every format goes through: what a file says is checked, counted, and becomes documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise

from biodist.data.formats.draft import Draft, DraftMention, Findings, shown_id
from biodist.data.formats.layers import one_layer, overlapping
from biodist.data.formats.source import MODULES, OUTSIDE, DocumentSource
from biodist.data.records import Document, Mention, Piece
from biodist.data.text_file import FileProblems, nearest_declared
from biodist.data.texts import is_whole

Reader = Callable[[DocumentSource, Findings], Iterator[Draft]]


@dataclass(frozen=True)
class DocumentReport:
    """Counts of one corpus; lines count from 1.

    Every mention the file has is somewhere: ``found`` is the sum of ``mentions`` (given, by type), ``repeated`` (the
    same place and type again), ``left_out`` (renamed to O), ``dropped_overlapping``, ``dropped_discontinuous`` and
    ``faulty`` (problems). ``overlapping`` and ``discontinuous`` count those there were, ``stretched`` the
    discontinuous ones that became one span. ``passed_over`` are the file's other annotations by kind: relations,
    events, notes. ``empty`` are documents without a character but blanks.
    """

    documents: int
    characters: int
    empty: int
    found: int
    mentions: dict[str, int]
    repeated: int
    left_out: int
    faulty: int
    overlapping: int
    discontinuous: int
    stretched: int
    dropped_overlapping: int
    dropped_discontinuous: int
    passed_over: dict[str, int]
    longest: int  # characters of the longest document
    longest_line: int  # where it begins; 0 in a corpus without documents


class DocumentReading:
    """Iterating over it gives the corpus's documents one by one; ``report`` holds the counts afterwards.

    Iteration ends with a `UserError` that lists every problem (the first 50 in full, then how many more), so a broken
    file is never taken for a short one. A document with a problem is not given. Memory holds one document at a time.
    """

    def __init__(self, source: DocumentSource):
        self.source = source
        self._pass = _Pass(source)

    @property
    def report(self) -> DocumentReport:
        """Counts of what was read so far; of the whole corpus once the iteration has ended."""
        return self._pass.report

    def __iter__(self) -> Iterator[Document]:
        self._pass = _Pass(self.source)
        return self._pass.documents()


class _Pass:
    """One pass over a corpus: the counts, the problems."""

    def __init__(self, source: DocumentSource):
        self.source = source
        self._findings = Findings(FileProblems(source.path))
        self._problems = self._findings.problems
        self._counts: Counter[str] = Counter()
        self._mentions: Counter[str] = Counter()
        self._longest = self._longest_line = 0

    @property
    def report(self) -> DocumentReport:
        counts = self._counts
        return DocumentReport(
            documents=counts["documents"],
            characters=counts["characters"],
            empty=counts["empty"],
            found=counts["found"],
            mentions=dict(sorted(self._mentions.items())),
            repeated=counts["repeated"],
            left_out=counts["left_out"],
            faulty=counts["faulty"],
            overlapping=counts["overlapping"],
            discontinuous=counts["discontinuous"],
            stretched=counts["stretched"],
            dropped_overlapping=counts["dropped_over"],
            dropped_discontinuous=counts["dropped_gaps"],
            passed_over=dict(sorted(self._findings.passed_over.items())),
            longest=self._longest,
            longest_line=self._longest_line,
        )

    def documents(self) -> Iterator[Document]:
        read: Reader = import_module(f"biodist.data.formats.{MODULES[self.source.format]}").read
        for draft in read(self.source, self._findings):
            found = max(draft.found, len(draft.mentions))
            self._counts["found"] += found
            before = self._set_aside()
            document = self._document(draft)
            if document is not None:
                yield document
            else:  # what it has is not given; some of it may be counted as something else already
                self._counts["faulty"] += found - (self._set_aside() - before)
        if not self._problems and not self._counts["documents"]:
            self._problems.note(0, "holds no document", f"give a corpus of format {self.source.format}")
        self._problems.raise_any()

    def _set_aside(self) -> int:
        """Mentions that are neither given nor faulty."""
        return sum(self._counts[name] for name in ("repeated", "left_out", "dropped_over", "dropped_gaps"))

    # --- documents ---------------------------------------------------------------------------------------------

    def _document(self, draft: Draft) -> Document | None:
        """The document of a draft; None where something of it is a problem."""
        self._counts["documents"] += 1
        self._counts["characters"] += len(draft.text)
        self._counts["empty"] += not draft.text.strip()
        name = draft.document or str(self._counts["documents"])
        if len(draft.text) > self._longest or not self._longest_line:
            self._longest, self._longest_line = len(draft.text), draft.line
        if not (is_whole(draft.text) and is_whole(name)):
            what = "document holds half a character (a lone surrogate)"
            self._problems.note(draft.line, what, "write it whole", draft.path)
            return None
        checked = [self._mention(draft, name, each) for each in draft.mentions]
        if not all(checked) or draft.found > len(draft.mentions):
            return None
        mentions = self._layered(draft, name, self._distinct([each for each in checked if each is not None]))
        if mentions is None:
            return None
        self._mentions.update(each.type for each in mentions)
        return Document(name, self.source.name, draft.line, draft.text, mentions)

    def _distinct(self, mentions: list[Mention]) -> list[Mention]:
        """By place and type, each once, those renamed to O left out."""
        wanted = [each for each in mentions if each.type != OUTSIDE]
        self._counts["left_out"] += len(mentions) - len(wanted)
        first: dict[tuple[tuple[Piece, ...], str], Mention] = {}
        for each in wanted:
            first.setdefault((each.pieces, each.type), each)
        self._counts["repeated"] += len(wanted) - len(first)
        return [first[key] for key in sorted(first)]

    def _layered(self, draft: Draft, name: str, mentions: list[Mention]) -> tuple[Mention, ...] | None:
        """The mentions as ``overlaps`` and ``discontinuous`` want them; None where they refuse."""
        source = self.source
        crossed = overlapping(mentions)
        gapped = [each for each in mentions if len(each.pieces) > 1]
        self._counts["overlapping"] += len(crossed)
        self._counts["discontinuous"] += len(gapped)
        refused = [
            (each, what, key)
            for guilty, policy, what, key in (
                (crossed, source.overlaps, "overlaps another", "overlaps"),
                (gapped, source.discontinuous, "is discontinuous", "discontinuous"),
            )
            if policy == "refuse"
            for each in guilty
        ]
        for each, what, key in refused:
            place = f"document {shown_id(name)}: mention at {each.start:,} to {each.end:,} {what}"
            self._problems.note(draft.line, place, f"set data.{key}=flatten (--{key} flatten)", draft.path)
        if refused:
            return None
        flatten = source.overlaps == "flatten", source.discontinuous == "flatten"
        if not any(flatten):
            return tuple(mentions)
        layer = one_layer(mentions, *flatten)
        self._counts["stretched"] += layer.stretched
        self._counts["dropped_over"] += layer.dropped_overlapping
        self._counts["dropped_gaps"] += layer.dropped_discontinuous
        return layer.mentions

    # --- mentions ----------------------------------------------------------------------------------------------

    def _mention(self, draft: Draft, name: str, written: DraftMention) -> Mention | None:
        """One mention, checked against its text; None where it is a problem."""
        kind = self.source.rename.get(written.type, written.type)
        fault, do = _fault(draft.text, written)
        if fault:
            self._problems.note(written.line, f"document {shown_id(name)}: {fault}", do, draft.path)
            return None
        declared = self.source.declared
        if declared is not None and kind not in declared and kind != OUTSIDE:
            nearest = nearest_declared(kind, declared)
            do = f"{nearest}; add the type to data.labels, or rename it with map (O leaves it out)"
            what = f"document {shown_id(name)}: entity type that is not declared"
            self._problems.note_undeclared(kind, written.line, what, do, draft.path)
            return None
        return Mention(tuple(sorted(written.pieces)), kind, written.score)


def _fault(text: str, written: DraftMention) -> tuple[str, str]:
    """What is wrong with a mention, and what to do; empty where nothing is."""
    pieces = sorted(written.pieces)
    if not written.type.strip() or not is_whole(written.type):
        return "mention without a type", "give each mention a type"
    if not pieces:
        return "mention without a place", "give its first character and the one past its last"
    start, end = pieces[0][0], pieces[-1][1]
    place = f"mention at {start:,} to {end:,}"
    if any(first >= last for first, last in pieces):
        return f"{place} holds no character", "ends are exclusive: end must be above start"
    if start < 0 or end > len(text):
        return f"{place} lies outside the text of {len(text):,} characters", "count characters from 0"
    if any(one[1] > other[0] for one, other in pairwise(pieces)):
        return f"{place} has pieces that overlap", "a mention's pieces are disjoint"
    if written.covered is not None and not _covers(text, pieces, written.covered):
        return f"{place} is not the text that the file says it is", _unit(text, pieces, written.covered)
    return "", ""


def _covers(text: str, pieces: list[Piece], covered: str) -> bool:
    """Whether the mention's own text is what stands there; blanks and line ends are one, gaps left out or not."""
    said = "".join(covered.split())
    there = "".join("".join(text[start:end].split()) for start, end in pieces)
    return said == there or (len(pieces) > 1 and said == "".join(text[pieces[0][0] : pieces[-1][1]].split()))


def _unit(text: str, pieces: list[Piece], covered: str) -> str:
    """The unit in which the offsets would be right, where there is one."""
    for name, encoding, width in (("UTF-16 units", "utf-16-le", 2), ("UTF-8 bytes", "utf-8", 1)):
        units = text.encode(encoding)
        there = "".join(units[start * width : end * width].decode(encoding, "replace") for start, end in pieces)
        if "".join(there.split()) == "".join(covered.split()):
            return f"they count {name}; offsets must count characters (code points), from 0"
    return "offsets count characters (code points) from 0, and ends are exclusive"
