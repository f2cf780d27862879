"""Entities: one tag a word, scored by whole entities; corpora that annotate some types alone, merged.

A window's label says the tag and the view it was given in (`biodist.data.views`). What an outside tag of a corpus that
annotates diseases alone means for genes is the loss's affair (`data.merge`):

==========  =================================================  ==============================
scheme      the probability that is to be large                out of
==========  =================================================  ==============================
naive       of the tag                                         all tags
marginal    of a mention's tag; of an outside one, of outside  all tags
            and every tag of a type outside the view together
masked      of the tag                                         outside and the view's own tags
tagged      of the tag; the window names the types it is for   all tags
==========  =================================================  ==============================

marginal is the likelihood of a partial annotation, summed over what it leaves open, token by token (Tsuboi et al.,
COLING 2008, for chains; to the loss the tags of a sentence are independent given its text).

tagged may ask for its types in turn (`biodist.config.corpora.asked_views`): a sample's windows are then those of one
pass behind those of another, and what is said in them is joined (`biodist.tasks.joining`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, PretrainedConfig, PreTrainedModel

from biodist.data.store import SampleStore
from biodist.tasks.joining import SAID, Joining, said_of
from biodist.tasks.pretrained import build_head
from biodist.tasks.protocol import IGNORED, Corpus, Entities
from biodist.tasks.tag_paths import TagPaths

Merge = Literal["marginal", "masked", "naive", "tagged"]
OUTSIDE = 0  # the number of tag O


class EntityTask:
    """Token classification with BIO tags; a word's first piece carries its tag. What is said of a window are the
    likeliest tags that make sense together (`biodist.tasks.tag_paths`)."""

    def __init__(
        self,
        tags: Sequence[str],
        views: Sequence[Sequence[str]] = (),
        merge: Merge = "marginal",
        asked: Sequence[Sequence[str]] = (),
    ):
        self.tags = tuple(tags)
        self.types = tuple(tag[2:] for tag in tags if tag.startswith("B-"))
        self.views = tuple(tuple(view) for view in views) or (self.types,)
        self.merge = merge
        in_turn = tuple(tuple(view) for view in asked) not in ((), (self.types,))
        self._joining = Joining(self.tags, asked) if in_turn else None
        self._paths = TagPaths(self.tags)
        self._within = tags_of_views(self.tags, self.views)
        self._tables: tuple[Tensor, Tensor] | None = None

    def build(self, config: PretrainedConfig, weights: str | None) -> PreTrainedModel:
        return build_head(AutoModelForTokenClassification, config, weights, "ner", self.tags)

    def targets(self, store: SampleStore, windows: NDArray[np.int64]) -> None:
        """None: each token brings its own."""

    def loss_sum(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        scores, codes = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
        if len(self.views) == 1:
            return nn.functional.cross_entropy(scores, codes, ignore_index=IGNORED, reduction="sum")
        counted = codes != IGNORED
        if self.merge in ("naive", "tagged"):
            # Past these labels are those of passes on types that the corpus does not annotate (`biodist.data.views`).
            counted = counted & (codes < len(self.views) * len(self.tags))
            told = torch.where(counted, codes % len(self.tags), IGNORED)
            return nn.functional.cross_entropy(scores, told, ignore_index=IGNORED, reduction="sum")
        right, possible = (table[codes.clamp(min=0)] for table in self._on(scores.device))
        losses = _log_sum(scores, possible) - _log_sum(scores, right)
        return losses.masked_fill(~counted, 0.0).sum()

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The tables of the loss on the device of the scores; they are moved once."""
        if self._tables is None or self._tables[0].device != device:
            tables = target_tables(self._within, self.merge)
            self._tables = (torch.from_numpy(tables[0]).to(device), torch.from_numpy(tables[1]).to(device))
        return self._tables

    def predictions(self, logits: Tensor, labels: Tensor, words: Sequence[NDArray[np.int32]]) -> list[np.ndarray]:
        owned = logits.reshape(-1, logits.shape[-1])[labels.reshape(-1) != IGNORED].float().cpu()
        said = said_of(owned, self._paths.likeliest(owned.numpy(), words))
        return np.split(said, np.cumsum([len(own) for own in words])[:-1])

    def decode(self, store: SampleStore, predicted: Mapping[int, np.ndarray]) -> Entities:
        gold, said = [], []
        corpora = []
        for name, samples in store.corpora.items():
            view = self._view(store, samples)
            kept = np.where(self._within[view], np.arange(len(self.tags)), OUTSIDE)
            for sample in samples:
                gold.append([self.tags[tag] for tag in store.gold(sample)])
                said.append([self.tags[tag] for tag in kept[self.words(store, sample, predicted)]])
            corpora.append(Corpus(name, samples, self.views[view]))
        return Entities(gold, said, self.types, tuple(corpora))

    def _view(self, store: SampleStore, samples: range) -> int:
        """The view of a corpus, from the first label of its first sample; of an empty one the first."""
        if not samples:
            return 0
        labels = store.window(int(store.first_window[samples[0]])).labels
        return int(labels[labels != IGNORED][0]) // len(self.tags) % len(self.views)

    def words(self, store: SampleStore, sample: int, predicted: Mapping[int, np.ndarray]) -> np.ndarray:
        """One tag a word of a sample, put together from its windows, and from its passes where there are several."""
        tags: np.ndarray = self.joined(self._answers(store, sample, predicted))["tag"]
        return tags

    def joined(self, answers: Sequence[NDArray[np.void]]) -> NDArray[np.void]:
        """One answer of a sentence out of one a pass, all `SAID` by word."""
        # An index that was made before types were asked for in turn holds one pass, on all of them.
        if self._joining is None or len(answers) != self._joining.passes:
            return answers[0]
        return self._joining.joined(answers)

    def _answers(self, store: SampleStore, sample: int, predicted: Mapping[int, np.ndarray]) -> list[np.ndarray]:
        """What each pass says of the words of a sample: it begins with the window that has the first word."""
        answers: list[np.ndarray] = []
        for number in range(int(store.first_window[sample]), int(store.first_window[sample + 1])):
            window = store.window(number)
            owned = window.owned
            if 0 in owned[:1]:
                answers.append(np.full(int(store.words[sample]), -1, SAID))
            answers[-1][owned] = predicted[number]
        if any((said["tag"] < 0).any() for said in answers):
            raise AssertionError(f"{store.sample_id(sample)}: a word without a prediction")
        return answers


def tags_of_views(tags: Sequence[str], views: Sequence[Sequence[str]]) -> NDArray[np.bool_]:
    """Which tags a view can give: outside and those of its own types, (views, tags)."""
    return np.array([[tag == "O" or tag[2:] in view for tag in tags] for view in views])


def target_tables(within: NDArray[np.bool_], merge: Merge) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For each coded label (view * tags + tag) the tags that are right, and those they are compared with.

    Both (views * tags, tags). ``within`` as `tags_of_views` gives it; ``merge`` is marginal or masked.
    """
    views, tags = within.shape
    right = np.tile(np.eye(tags, dtype=np.bool_), (views, 1))
    if merge == "masked":
        # A label its view cannot give never occurs; kept possible, so that its row is no division by nothing.
        return right, np.repeat(within, tags, axis=0) | right
    right[OUTSIDE::tags] |= ~within
    return right, np.ones_like(right)


def _log_sum(scores: Tensor, which: Tensor) -> Tensor:
    """The logarithm of the summed exponentials of some tags' scores, fp32 (tokens,)."""
    return scores.float().masked_fill(~which, -torch.inf).logsumexp(-1)
