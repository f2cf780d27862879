"""Views: the types a corpus annotates, and how a token's label says from which of them it was given.

A label that a window carries is ``view * tags + tag``, so that one index serves every way of merging
(`data.merge`): what an outside tag of a corpus means is decided where the loss is made. Of one view the code is the
tag itself.

Where types are asked for in turn (`asked_views`), a sample of validation and test has the windows of one pass behind
those of another. A pass on types of which the corpus annotates none is answered, but no loss counts it: its labels are
``(views + view) * tags``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from biodist.config.corpora import annotated_types, asked_views
from biodist.config.recipe import CorpusEntry, DataSection
from biodist.data.tags import iob2_labels
from biodist.data.windows import Window, WordPieces, make_windows
from biodist.errors import Problem, UserError

MOST_CODES = 1 << 15  # a label is 16 bits wide in the store


@dataclass(frozen=True)
class Pass:
    """One way in which a file's samples are put to the model: once in training, in turn where types are asked for in
    turn.

    ``codes`` are the labels that stand for the tags, by their numbers. ``marker`` are the pieces, behind the special
    tokens that open a window, which name the types that are asked for: none but under ``data.merge: tagged``.
    """

    codes: tuple[int, ...]
    marker: tuple[int, ...] = ()

    def windows(self, words: Sequence[str], gold: Sequence[int], pieces: WordPieces, data: DataSection) -> list[Window]:
        """The windows of one sample, from the numbers of its words' tags."""
        labels = [self.codes[tag] for tag in gold]
        return make_windows(words, labels, pieces, data.max_length, data.stride, self.marker)


def passes_of(
    entry: CorpusEntry, data: DataSection, views: Sequence[tuple[str, ...]], pieces: WordPieces, training: bool
) -> tuple[Pass, ...]:
    """The passes of one file. A training file asks for the types it annotates, any other for each of `asked_views`.

    Raises:
        UserError: the views and tags are more than a label can hold, or ``data.merge: tagged`` has no room in a
            window, or the tokenizer gives two markers the same pieces.
    """
    own, tags, asked = annotated_types(entry, data), iob2_labels(data.labels), asked_views(data)
    in_turn = asked != (data.labels,)
    if len(views) * len(tags) * (1 + in_turn) > MOST_CODES:
        what = f"{len(views)} sets of types and {len(tags)} tags are more than a label can hold"
        raise UserError(Problem("data.labels", f"{what} ({MOST_CODES:,})", "train on fewer corpora or types at once"))
    offset = views.index(own) * len(tags)
    plain = tuple(range(offset, offset + len(tags)))
    if data.merge != "tagged" or len(views) == 1:
        return (Pass(plain),)
    markers = _markers(data, asked, pieces)
    if training or not in_turn:
        return (Pass(plain, markers[own if training else data.labels]),)
    untold = len(views) * len(tags)
    return tuple(
        Pass(_codes(tags, view, offset if set(own) & set(view) else untold + offset), markers[view]) for view in asked
    )


def _codes(tags: Sequence[str], view: Sequence[str], offset: int) -> tuple[int, ...]:
    """The labels of all tags in a pass that asks for the types of ``view``: mentions of others are outside."""
    return tuple(offset + (number if tag[2:] in view else 0) for number, tag in enumerate(tags))


def _markers(
    data: DataSection, asked: Sequence[tuple[str, ...]], pieces: WordPieces
) -> dict[tuple[str, ...], tuple[int, ...]]:
    """The marker of each set of types that is trained or asked for. Raises UserError as `passes_of` does."""
    trained = (annotated_types(entry, data) for entry in data.train)
    markers = {kinds: marker_pieces(kinds, pieces) for kinds in (*trained, *asked)}
    if len(set(markers.values())) < len(markers):
        what = "tagged needs a marker for each set of types, but the tokenizer gives two of them the same pieces"
        raise UserError(Problem("data.merge", what, "set data.merge=marginal, or give the types other names"))
    if data.max_length - len(pieces.prefix) - len(pieces.suffix) - max(map(len, markers.values())) < 1:
        what = "leaves no room for a word beside the names of the types (data.merge: tagged)"
        raise UserError(Problem("data.max_length", what, "raise it, or set data.merge=marginal"))
    return markers


def marker_pieces(types: Sequence[str], pieces: WordPieces) -> tuple[int, ...]:
    """The pieces of ``[ Disease , Gene ]``, which open a window that asks for these types."""
    return tuple(piece for word in marker_words(types) for piece in pieces[word])


def marker_words(types: Sequence[str]) -> list[str]:
    """The words of a marker."""
    named = [word for kind in types for word in (kind, ",")]
    return ["[", *named[:-1], "]"]
