"""The tokenizer: there and back, marks in their places, and clear refusals."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, strategies as st

from secondlook.errors import InvalidInput
from secondlook.scenes.captions import PROMPTS, captions, class_names, vocabulary
from secondlook.scenes.sampling import sample
from secondlook.scenes.tokenizer import BOS, EOS, LENGTH, PAD, UNK, Tokenizer

GOLDEN_HASH = "0490c47cd304102b5231081515142b4e4c6e4246ff74570dae53fce2f4636cf2"


def test_the_vocabulary_is_golden() -> None:
    assert Tokenizer().hash == GOLDEN_HASH
    assert Tokenizer().size == len(vocabulary()) + 4


def test_the_hash_is_of_marks_and_words() -> None:
    plain = "<pad>\n<bos>\n<eos>\n<unk>\nred\nstar"
    assert Tokenizer(words=("red", "star")).hash == hashlib.sha256(plain.encode()).hexdigest()
    assert Tokenizer(words=("star", "red")).hash != Tokenizer(words=("red", "star")).hash


def test_rows_are_laid_out_as_promised() -> None:
    rows = Tokenizer(words=("red", "star")).encode(["Red STAR, red!", "", "red moon"], 6)
    assert rows.dtype == np.int64
    assert rows.tolist() == [[BOS, 4, 5, 4, EOS, PAD], [BOS, EOS, PAD, PAD, PAD, PAD], [BOS, 4, UNK, EOS, PAD, PAD]]


def test_long_texts_keep_their_end() -> None:
    tokenizer = Tokenizer(words=("red",))
    assert tokenizer.encode(["red " * 100], 4).tolist() == [[BOS, 4, 4, EOS]]
    assert tokenizer.encode(["red red"], 2).tolist() == [[BOS, EOS]]


def test_captions_come_back_whole() -> None:
    tokenizer = Tokenizer()
    texts = [text for index in range(300) for text in captions(sample(0, "val", index))]
    rows = tokenizer.encode(texts)
    assert rows.shape == (1500, LENGTH)
    assert UNK not in rows
    assert (rows == EOS).sum(axis=1).tolist() == [1] * 1500
    bare = [text.replace(",", "").replace(";", "") for text in texts]
    assert tokenizer.decode(rows) == bare


def test_prompts_are_known_words() -> None:
    texts = [prompt.format(name) for prompt in PROMPTS for name in class_names()]
    assert UNK not in Tokenizer().encode(texts)


def test_no_texts_give_no_rows() -> None:
    assert Tokenizer().encode([]).shape == (0, LENGTH)
    assert Tokenizer().decode(np.empty((0, LENGTH), np.int64)) == []


def test_unknown_words_are_shown_as_such() -> None:
    tokenizer = Tokenizer()
    assert tokenizer.decode(tokenizer.encode(["a red zebra"])) == ["a red <unk>"]


@given(st.lists(st.text(max_size=80), max_size=4), st.integers(2, 60))
def test_any_text_has_one_begin_and_one_end(texts: list[str], length: int) -> None:
    rows = Tokenizer().encode(texts, length)
    assert rows.shape == (len(texts), length)
    for row in rows:
        end = int(np.flatnonzero(row == EOS)[0])
        assert row[0] == BOS
        assert (row[end + 1 :] == PAD).all()
        assert not np.isin(row[1:end], [PAD, BOS, EOS]).any()


@pytest.mark.parametrize(
    ("words", "message"), [((), "empty"), (("red", "red"), "twice"), (("Red",), "'Red'"), (("red star",), "'red star'")]
)
def test_bad_vocabularies_are_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Tokenizer(words=words)


def test_bad_calls_name_the_mend() -> None:
    tokenizer = Tokenizer()
    with pytest.raises(InvalidInput, match="write 2 or more"):
        tokenizer.encode(["red"], 1)
    with pytest.raises(InvalidInput, match="one string"):
        tokenizer.encode("red")
    with pytest.raises(InvalidInput, match="token=9999"):
        tokenizer.decode([[BOS, 9999]])
