"""Tags to mentions, held to seqeval's reading of the same tags."""

from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from biodist.data.tags import iob2_labels, iob2_mentions, iobes_mentions, parse_tag

IOB2 = st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), max_size=12)
IOBES = st.lists(st.sampled_from(["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "E-Y"]), max_size=12)


def mentions(tags, prefixes, read):
    found = read([parse_tag(tag, prefixes) for tag in tags])
    return [(entity.type, entity.start, entity.end - 1) for entity in found.entities], found.breaks


@settings(max_examples=500, deadline=None)
@given(IOB2)
def test_iob2_is_read_as_seqeval_reads_it(tags):
    found, breaks = mentions(tags, "BI", iob2_mentions)
    assert found == get_entities(tags)
    follows = [tag[0] != "I" or before[1:] == tag[1:] for before, tag in zip(["O", *tags], tags, strict=False)]
    assert [each.token for each in breaks] == [token for token, whole in enumerate(follows) if not whole]


@settings(max_examples=500, deadline=None)
@given(IOBES)
def test_iobes_mentions_never_overlap_and_hold_every_tagged_token(tags):
    found, _ = mentions(tags, "BIES", iobes_mentions)
    covered = [token for _, start, end in found for token in range(start, end + 1)]
    assert covered == [token for token, tag in enumerate(tags) if tag != "O"]


def test_labels_in_the_order_of_the_recipe():
    assert iob2_labels(("Disease", "Chemical")) == ("O", "B-Disease", "I-Disease", "B-Chemical", "I-Chemical")


def test_what_is_a_tag():
    assert parse_tag("B-T-cell", "BI") == ("B", "T-cell")
    assert [parse_tag(text, "BI") for text in ("", "B", "b-X", "B-", "-X", "E-X", "BI-X", "o")] == [None] * 8
