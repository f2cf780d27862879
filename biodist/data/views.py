"""Views: the types a corpus annotates, and how a token's label says from which of them it was given.

A label that a window carries is ``view * tags + tag``, so that one index serves every way of merging
(`data.merge`): what an outside tag of a corpus means is decided where the loss is made. Of one view the code is the
tag itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from biodist.config.corpora import annotated_types
from biodist.config.recipe import CorpusEntry, DataSection
from biodist.data.tags import iob2_labels
from biodist.data.windows import WordPieces
from biodist.errors import Problem, UserError

MOST_CODES = 1 << 15  # a label is 16 bits wide in the store


@dataclass(frozen=True)
class View:
    """How one file's labels are coded.

    ``offset`` is added to a tag's number. ``marker`` are the pieces, behind the special tokens that open a window,
    which name the types that are asked for: none but under ``data.merge: tagged``.
    """

    offset: int
    marker: tuple[int, ...] = ()

    def coded(self, gold: Sequence[int]) -> list[int]:
        """The labels of a window's words from their tags' numbers."""
        return [self.offset + tag for tag in gold] if self.offset else list(gold)


def view_of(
    entry: CorpusEntry, data: DataSection, views: Sequence[tuple[str, ...]], pieces: WordPieces, training: bool
) -> View:
    """The view of one file. A training file asks for the types it annotates, any other for all of ``data.labels``.

    Raises:
        UserError: the views and tags are more than a label can hold, or ``data.merge: tagged`` has no room in a
            window, or the tokenizer gives two markers the same pieces.
    """
    own, tags = annotated_types(entry, data), len(iob2_labels(data.labels))
    if len(views) * tags > MOST_CODES:
        what = f"{len(views)} sets of types and {tags} tags are more than a label can hold ({MOST_CODES:,} together)"
        raise UserError(Problem("data.labels", what, "train on fewer corpora or types at once"))
    offset = views.index(own) * tags
    if data.merge != "tagged" or len(views) == 1:
        return View(offset)
    markers = {kinds: marker_pieces(kinds, pieces) for kinds in (*views, data.labels)}
    if len(set(markers.values())) < len(markers):
        what = "tagged needs a marker for each set of types, but the tokenizer gives two of them the same pieces"
        raise UserError(Problem("data.merge", what, "set data.merge=marginal, or give the types other names"))
    marker = markers[own if training else data.labels]
    if data.max_length - len(pieces.prefix) - len(pieces.suffix) - max(map(len, markers.values())) < 1:
        what = "leaves no room for a word beside the names of the types (data.merge: tagged)"
        raise UserError(Problem("data.max_length", what, "raise it, or set data.merge=marginal"))
    return View(offset, marker)


def marker_pieces(types: Sequence[str], pieces: WordPieces) -> tuple[int, ...]:
    """The pieces of ``[ Disease , Gene ]``, which open a window that asks for these types."""
    return tuple(piece for word in marker_words(types) for piece in pieces[word])


def marker_words(types: Sequence[str]) -> list[str]:
    """The words of a marker."""
    named = [word for kind in types for word in (kind, ",")]
    return ["[", *named[:-1], "]"]
