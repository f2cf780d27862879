"""The generated corpus: the same bytes everywhere, and nothing of test in train."""

import hashlib
import re
from collections import Counter, defaultdict

import pytest

from biodist.cli.quickstart import baseline_table, prepare_corpus
from biodist.data.generate import LABELS, SIZES, SPLITS, corpus, files, generate, morphemes, phrases
from biodist.data.generate.draw import Draw
from biodist.data.generate.splits import owner
from biodist.errors import MachineCannot

pytestmark = pytest.mark.timeout(60)

DIGESTS = {"train.tsv": "2007c0fe502d13d4", "validation.tsv": "ab0bed977ee206eb", "test.tsv": "b872d3fccd7ba2fd"}


@pytest.fixture(scope="module")
def sentences():
    return {split: corpus(split, SIZES[split]) for split in SPLITS}


def mentions(sentence):
    """(type, first token, one past the last) of each mention of an IOB2 sentence."""
    starts = [place for place, (_, tag) in enumerate(sentence) if tag.startswith("B-")]
    for start in starts:
        end = start + 1
        while end < len(sentence) and sentence[end][1].startswith("I-"):
            end += 1
        yield sentence[start][1][2:], start, end


def names(sentences):
    """Every name, as its lower-cased tokens."""
    return {
        tuple(token.casefold() for token, _ in sentence[start:end])
        for sentence in sentences
        for _, start, end in mentions(sentence)
    }


def test_the_bytes_are_the_same_everywhere():
    digests = {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in files().items()}
    assert digests == DIGESTS


def test_another_seed_is_another_corpus_and_the_size_only_cuts():
    assert corpus("test", 20, seed=1) != corpus("test", 20, seed=2)
    assert corpus("test", 50)[:20] == corpus("test", 20)


def test_generate_writes_three_whole_files(tmp_path):
    folder = tmp_path / "new" / "folder"
    generate(folder, train=30, validation=10, test=20)
    assert sorted(path.name for path in folder.iterdir()) == ["test.tsv", "train.tsv", "validation.tsv"]
    for name, text in files(train=30, validation=10, test=20).items():
        assert (folder / name).read_text(encoding="utf-8") == text
        assert text.endswith("\n\n") and text.count("\n\n") == {"train": 30, "validation": 10, "test": 20}[name[:-4]]


def test_the_command_writes_only_what_is_missing_or_different(tmp_path):
    folder = tmp_path / "quickstart-data"
    assert prepare_corpus(folder)
    assert not prepare_corpus(folder)
    path = folder / "test.tsv"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert prepare_corpus(folder)
    assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(MachineCannot, match="taken"):
        prepare_corpus(tmp_path / "taken")


def test_the_table_scores_both_baselines_on_the_files(tmp_path):
    generate(tmp_path, train=200, validation=5, test=40)
    dictionary, linear = baseline_table(tmp_path)
    assert (dictionary.name, linear.name) == ("dictionary", "linear")
    assert dictionary.f1 == 0.0 and 0 < linear.f1 < 1


def test_files_are_valid_iob2():
    for text in files().values():
        before = "O"
        for line in text.split("\n"):
            if not line:
                before = "O"
                continue
            token, tag = line.split("\t")
            assert token and token == token.strip() and token.isascii() and " " not in token
            assert tag == "O" or (tag[:2] in ("B-", "I-") and tag[2:] in LABELS)
            assert not tag.startswith("I-") or before in (f"B-{tag[2:]}", f"I-{tag[2:]}")
            before = tag


@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_no_held_out_name_is_found_anywhere_in_another_split(sentences, held_out):
    unseen = names(sentences[held_out])
    longest = max(map(len, unseen))
    for split in SPLITS:
        if split == held_out:
            continue
        for sentence in sentences[split]:
            tokens = [token.casefold() for token, _ in sentence]
            found = {
                tuple(tokens[start : start + length])
                for start in range(len(tokens))
                for length in range(1, longest + 1)
            }
            assert not found & unseen


WORDS = frozenset(
    word.casefold()
    for group in (phrases.SUBJECTS, phrases.PLURAL_SUBJECTS, phrases.NEUTRAL, phrases.LIST_TAILS, phrases.VERBS,
                  phrases.OPENINGS, phrases.LINKS, phrases.CLOSINGS, *phrases.PREDICATES.values(),
                  *phrases.APPOSITIONS.values(), *phrases.LISTS.values(), *phrases.OBJECTS.values(),
                  *phrases.FILLERS.values(), phrases.PLURAL_VERBS.values())
    for phrase in group
    for word in phrase.split()
)  # fmt: skip
FILLED = {word for words in phrases.FILLERS.values() for word in words if word}
LINK = re.compile(r" , (?:whereas|and|although|because) | , but (?!not )| ; ")


def pattern(sentence):
    """The sentence with each name as its type, and every number, code, surname and filled-in word as a gap."""
    shown, inside = [], {place: kind for kind, start, _ in mentions(sentence) for place in [start]}
    for place, (token, tag) in enumerate(sentence):
        word = token.casefold()
        if place in inside:
            shown.append(f"<{inside[place]}>")
        elif tag == "O" and word not in FILLED:
            shown.append(word if word in WORDS and not token.isdigit() else "_")
    return " ".join(shown)


def test_no_held_out_sentence_pattern_is_in_train(sentences):
    patterns = {split: {pattern(sentence) for sentence in sentences[split]} for split in SPLITS}
    assert len(patterns["test"]) > 600  # a pattern is rarely met twice even within a split
    assert not patterns["test"] & patterns["train"]
    assert not patterns["validation"] & patterns["train"]
    assert not patterns["validation"] & patterns["test"]


def test_no_clause_of_test_is_a_clause_of_train(sentences):
    clauses = {split: {c for s in sentences[split] for c in LINK.split(pattern(s)[:-2])} for split in SPLITS}
    assert len(clauses["train"]) > 3000 and len(clauses["test"]) > 500
    assert not clauses["test"] & clauses["train"]


@pytest.mark.parametrize("split", SPLITS)
def test_every_type_has_single_words_several_words_and_codes(sentences, split):
    shapes = Counter()
    for sentence in sentences[split]:
        for kind, start, end in mentions(sentence):
            code = sentence[start][0].isupper() and end - start == 1
            shapes[kind, "code" if code else "word" if end - start == 1 else "words"] += 1
    assert {kind for kind, _ in shapes} == set(LABELS)
    assert all(shapes[kind, shape] >= 15 for kind in LABELS for shape in ("code", "word", "words"))


def test_the_splits_are_alike(sentences):
    """The share of long names is the same: else test would be easier than train, or harder."""
    shares = {}
    for split in SPLITS:
        lengths = [end - start for sentence in sentences[split] for _, start, end in mentions(sentence)]
        shares[split] = sum(length > 1 for length in lengths) / len(lengths)
    assert max(shares.values()) - min(shares.values()) < 0.05


@pytest.mark.parametrize("split", SPLITS)
def test_abbreviations_are_defined_and_then_used(sentences, split):
    used_again = 0
    for sentence in sentences[split]:
        tokens = [token for token, _ in sentence]
        for kind, _start, end in mentions(sentence):
            if end + 2 < len(tokens) and tokens[end] == "(" and tokens[end + 2] == ")" and tokens[end + 1].isupper():
                short = (tokens[end + 1], f"B-{kind}")
                used_again += sentence[end + 1] == short and short in sentence[end + 3 :]
    assert used_again > 0.1 * len(sentences[split])


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_form_is_of_several_types_and_none(sentences, split):
    types = defaultdict(set)
    for sentence in sentences[split]:
        for token, tag in sentence:
            types[token].add(tag)
    forms = [form for form, tags in types.items() if len(tags & {f"B-{kind}" for kind in LABELS}) > 1]
    assert len(forms) >= 80
    assert len([form for form in forms if "O" in types[form]]) >= 40


def test_look_alikes_of_other_types_are_there(sentences):
    found = Counter()
    for sentence in sentences["test"]:
        for kind, start, end in mentions(sentence):
            name = [token for token, _ in sentence[start:end]]
            found["species in a disease"] += kind == "Disease" and name[-1] in morphemes.INFECTION_HEADS
            found["gene in a disease"] += kind == "Disease" and name[-1] in ("deficiency", "haploinsufficiency")
            found["chemical in a gene"] += kind == "Gene" and len(name) > 1 and name[1] in morphemes.ENZYMES
            found["disease in a gene"] += kind == "Gene" and "protein" in name
            found["protein in a chemical"] += kind == "Chemical" and len(name) > 1 and name[1] == "antagonist"
            found["word as a gene"] += kind == "Gene" and name[0] in morphemes.WORD_SYMBOLS["test"]
        for token, tag in sentence:
            process = any(token.casefold().endswith(ending) for ending in morphemes.PROCESS_ENDINGS)
            found["process like a disease"] += tag == "O" and process
            found["dose"] += tag == "O" and token in phrases.FILLERS["dose"]
    assert len(found) == 8 and min(found.values()) >= 5, found


def test_each_text_has_one_owner_whatever_its_case():
    owners = Counter(owner(f"name {number}") for number in range(2000))
    assert 0.65 < owners["train"] / 2000 < 0.75 and 0.07 < owners["validation"] / 2000 < 0.13
    assert owner("TRK4") == owner("trk4")


def test_draws_stay_in_range_and_reach_both_ends():
    draw = Draw(5)
    assert {draw.between(2, 4) for _ in range(200)} == {2, 3, 4}
    assert {draw.weighted((("a", 1), ("b", 0), ("c", 2))) for _ in range(200)} == {"a", "c"}
