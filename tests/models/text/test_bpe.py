"""CLIP's tokenizer, against known ids and against another implementation of it."""

import gzip
import json
from pathlib import Path

import pytest

from secondlook.errors import InvalidInput
from secondlook.models.text.bpe import LENGTH, VOCABULARY, BytePairTokenizer

STRANGE = [
    "A man's well-worn hat; isn't it?! (left) #1",
    "café naïve déjà-vu",
    "½ ² Ⅷ ٣ x2y 12345",
    "日本語 テスト",
    "hello   world\n\tfoo",
    "they'll we've I'm it'd you're '",
    "🙂🙂 emoji!!",
    "a_b __init__",
    "ﬁ Å",
    "straße İstanbul",
    "e\u0301 combining a\u0300\u0327",
    "",
    "\u00a0\u3000x",
]


@pytest.fixture(scope="module")
def tokenizer(shared: Path) -> BytePairTokenizer:
    return BytePairTokenizer.read(shared / "data" / "tokenizer" / VOCABULARY)


def test_known_ids(tokenizer: BytePairTokenizer) -> None:
    rows = tokenizer.encode(["a photo of a cat", ""])
    assert rows.shape == (2, LENGTH)
    assert rows[0, :7].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert rows[1, :2].tolist() == [49406, 49407]
    assert not rows[0, 7:].any() and not rows[1, 2:].any()


def test_case_and_white_space_are_dropped_and_entities_read(tokenizer: BytePairTokenizer) -> None:
    plain, *others = tokenizer.encode(["cat's & dog's", "  CAT\u2019s \n&\tDog's", "cat&#39;s &amp;amp; dog&#39;s"])
    assert all(other.equal(plain) for other in others)


def test_a_long_text_keeps_its_end(tokenizer: BytePairTokenizer) -> None:
    row = tokenizer.encode(["word " * 100])[0].tolist()
    assert row[0] == 49406 and row[-1] == 49407 and len(set(row[1:-1])) == 1


def test_marks_written_out_are_text(tokenizer: BytePairTokenizer) -> None:
    row = tokenizer.encode(["a <|endoftext|> b"])[0].tolist()
    assert row.count(49407) == 1


def test_all_agree_with_another_implementation(tokenizer: BytePairTokenizer, shared: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    marks = {"<|startoftext|>": tokenizer.start, "<|endoftext|>": tokenizer.end}
    vocabulary, merges = tmp_path / "vocab.json", tmp_path / "merges.txt"
    vocabulary.write_text(json.dumps(tokenizer.numbers | marks))
    pairs = "\n".join(" ".join(pair) for pair in tokenizer.ranks)
    merges.write_text(f"#version: 0.2\n{pairs}\n", encoding="utf-8")
    other = transformers.CLIPTokenizer(str(vocabulary), str(merges))
    captions = (shared / "data" / "flickr8k" / "all_captions.txt").read_text(encoding="utf-8")
    texts = [*STRANGE, *captions.splitlines()[1:20_000:100]]
    for text, row in zip(texts, tokenizer.encode(texts).tolist(), strict=True):
        ids = other([text], truncation=True, max_length=LENGTH)["input_ids"][0]
        assert row[: len(ids)] == ids, text


def test_what_is_no_list_of_merges_is_refused(tmp_path: Path) -> None:
    file = tmp_path / VOCABULARY
    file.write_bytes(b"not gzipped")
    with pytest.raises(InvalidInput, match="no gzipped list of merges"):
        BytePairTokenizer.read(file)
    file.write_bytes(gzip.compress(b"#version\na b\nc d"))
    with pytest.raises(InvalidInput, match="2 merges, not 48894"):
        BytePairTokenizer.read(file)


def test_a_bare_string_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"write \['a cat'\]"):
        BytePairTokenizer([]).encode("a cat")
