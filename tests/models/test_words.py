"""The word tokenizer of exported text encoders."""

import pytest

from secondlook.errors import InvalidInput
from secondlook.models.words import WordTokenizer

TOKENIZER = WordTokenizer(
    vocabulary={"a": 2, "dog": 3, "runs": 4}, pattern="[a-z]+", lowercase=True, length=4,
    pad=0, unknown=1,
)  # fmt: skip


def test_words_are_numbered_padded_and_cut() -> None:
    rows = TOKENIZER.encode(["A dog!", "a quick-dog runs home", "dog2dog"])
    assert rows.tolist() == [[2, 3, 0, 0], [2, 1, 3, 4], [3, 3, 0, 0]]


def test_a_text_without_words_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'747' has no word"):
        TOKENIZER.encode(["a dog", "747"])
