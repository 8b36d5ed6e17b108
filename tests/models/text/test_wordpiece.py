"""BERT's uncased tokenizer, in closed form and against another implementation of it."""

import string
from pathlib import Path

import pytest

from secondlook.errors import InvalidInput
from secondlook.models.text.wordpiece import WordPieceTokenizer

PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "un",
    "play",
    "##play",
    "##ing",
    "##ed",
    "cafe",
    "a",
    "the",
    "中",
    "国",
    *"!#'(),-.:;?@_`^$+<>…",
    *string.digits,
    *"bcdefghijklmn",
    *(f"##{c}" for c in string.ascii_lowercase),
]
TEXTS = [
    "Unplaying the CAFÉ",
    "中国 played, 中国abc",
    "o un-played (a) the?!",
    "a" * 101,
    "a" * 100,
    "`a` ^b^ $5 a+b <b>",
    "x\u200by\u00adz\u0000w\ufffdq a",
    "🙂 a",
    "a\u0301e\u0301 İ ß ﬁ Å",
    "",
    "한국어 ﾊﾟ … 。",
    "_under_ b\u00a0c\u3000d\n\te",
    "½²",
]


@pytest.fixture
def tokenizer(tmp_path: Path) -> WordPieceTokenizer:
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return WordPieceTokenizer.read(file, 12)


def pieces(tokenizer: WordPieceTokenizer, text: str) -> list[str]:
    ids, mask = tokenizer.encode([text])
    return [PIECES[number] for number in ids[mask.bool()]]


def test_the_longest_piece_comes_first(tokenizer: WordPieceTokenizer) -> None:
    assert pieces(tokenizer, "Unplaying, ÁCafé") == [
        "[CLS]",
        "un",
        "##play",
        "##ing",
        ",",
        "a",
        "##c",
        "##a",
        "##f",
        "##e",
        "[SEP]",
    ]
    assert pieces(tokenizer, "o中the") == ["[CLS]", "[UNK]", "中", "the", "[SEP]"]


def test_rows_are_padded_masked_and_cut(tokenizer: WordPieceTokenizer) -> None:
    ids, mask = tokenizer.encode(["the", "a " * 50])
    assert mask.sum(1).tolist() == [3, 12] and ids[0, 3:].eq(0).all()
    assert PIECES[ids[1, -1]] == "[SEP]"


def test_another_implementation_agrees(tokenizer: WordPieceTokenizer) -> None:
    transformers = pytest.importorskip("transformers")
    other = transformers.BertTokenizer(vocab={piece: row for row, piece in enumerate(PIECES)})
    told = other(TEXTS, padding="max_length", truncation=True, max_length=12)
    ids, mask = tokenizer.encode(TEXTS)
    assert ids.tolist() == told["input_ids"]
    assert mask.tolist() == told["attention_mask"]


def test_a_list_without_marks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\na\n")
    with pytest.raises(InvalidInput, match=r"no line \[SEP\]; take the list of bert-base-uncased"):
        WordPieceTokenizer.read(tmp_path / "vocab.txt", 12)


def test_another_vocabulary_has_another_hash(tokenizer: WordPieceTokenizer) -> None:
    other = WordPieceTokenizer(vocabulary=tokenizer.vocabulary | {"new": 200}, length=12)
    assert other.hash != tokenizer.hash


def test_a_bare_string_is_refused(tokenizer: WordPieceTokenizer) -> None:
    with pytest.raises(InvalidInput, match=r"write \['a cat'\]"):
        tokenizer.encode("a cat")
