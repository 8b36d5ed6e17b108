"""Masked language models: tiny ones of transformers, and the way from words to their pieces."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models import load
from secondlook.models.maskedlm import MaskedLM, Span

transformers = pytest.importorskip("transformers")

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PIECES = (*MARKS, "a", "small", "cat", "dog", "play", "##ing", "##ed", "on", "grass", ",", ".")
TEXT = "a small cat playing, on grass"
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 24,
}


def bert(folder: Path) -> Any:
    (folder / "vocab.txt").write_text("\n".join(PIECES))
    words = transformers.BertTokenizerFast.from_pretrained(folder)
    words.save_pretrained(folder)
    config = transformers.BertConfig(vocab_size=len(PIECES), **SIZES)
    return transformers.BertForMaskedLM(config)


def distilbert(folder: Path) -> Any:
    bert(folder)
    config = transformers.DistilBertConfig(
        vocab_size=len(PIECES), dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=24
    )
    return transformers.DistilBertForMaskedLM(config)


def roberta(folder: Path) -> Any:
    from tokenizers import ByteLevelBPETokenizer

    learnt = ByteLevelBPETokenizer()
    marks = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    learnt.train_from_iterator([TEXT, "a dog played."] * 4, vocab_size=290, special_tokens=marks)
    learnt.save_model(str(folder))
    rules = (folder / "vocab.json", folder / "merges.txt")
    vocabulary = json.loads(rules[0].read_text())
    merges = [tuple(line.split()) for line in rules[1].read_text().splitlines()[1:]]
    words = transformers.RobertaTokenizerFast(vocab=vocabulary, merges=merges)
    words.save_pretrained(folder)
    config = transformers.RobertaConfig(vocab_size=len(words), pad_token_id=1, bos_token_id=0, eos_token_id=2, **SIZES)
    return transformers.RobertaForMaskedLM(config)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    found = {}
    for make in (bert, distilbert, roberta):
        folder = tmp_path_factory.mktemp(make.__name__)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            make(folder).save_pretrained(folder)
        found[make.__name__] = load(f"hf:{folder}")
    return found


KINDS = ("bert", "distilbert", "roberta")


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_transformers(models: Mapping[str, Any], kind: str) -> None:
    model = models[kind]
    assert isinstance(model, MaskedLM)
    pieces = model.tokenize([TEXT, "a dog"])
    expected = model.tokenizer([TEXT, "a dog"], padding=True, return_tensors="pt")
    assert torch.equal(pieces.ids, expected["input_ids"])
    assert torch.equal(pieces.mask, expected["attention_mask"])
    with counting() as ledger, torch.no_grad():
        found = model.logits(pieces.ids, pieces.mask)
        exact = model.network(pieces.ids, attention_mask=pieces.mask).logits
    assert ledger.forwards == 2
    assert torch.equal(found, exact)
    shorter = int(pieces.mask[1].sum())
    alone = model.logits(pieces.ids[1:, :shorter])
    assert torch.allclose(alone[0], found[1, :shorter], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_words_lead_to_their_pieces_and_back(models: Mapping[str, Any], kind: str) -> None:
    model = models[kind]
    pieces = model.tokenize(["a dog", TEXT])
    assert pieces.words[1] == ("a", "small", "cat", "playing,", "on", "grass")
    for row, (words, spans) in enumerate(zip(pieces.words, pieces.spans, strict=True)):
        for word, (start, end) in zip(words, spans, strict=True):
            spelled = model.detokenize(pieces.ids[row, start:end].tolist())
            assert spelled.replace(" ", "") == word
        covered = {place for start, end in spans for place in range(start, end)}
        marks = {p for p, i in enumerate(pieces.ids[row].tolist()) if i in model.special_ids}
        assert covered.isdisjoint(marks)
        assert covered | marks == set(range(pieces.ids.shape[1]))


def test_places_count_the_mark_at_the_beginning(models: Mapping[str, Any]) -> None:
    pieces = models["bert"].tokenize([TEXT])
    assert pieces.spans[0][:4] == (Span(1, 2), Span(2, 3), Span(3, 4), Span(4, 7))
    assert pieces.ids[0, 3] == PIECES.index("cat")


def test_a_gap_is_filled_where_it_is(models: Mapping[str, Any]) -> None:
    model = models["bert"]
    pieces = model.tokenize(["a small cat"])
    hidden = pieces.ids.clone()
    hidden[0, pieces.spans[0][2].start] = model.mask_id
    assert model.special_ids == {PIECES.index(mark) for mark in MARKS}
    other = pieces.ids.clone()
    other[0, 3] = PIECES.index("dog")
    blind, seen = model.logits(hidden), model.logits(pieces.ids)
    other[0, 3] = model.mask_id
    assert torch.equal(blind, model.logits(other))
    assert not torch.allclose(blind[0, 3], seen[0, 3])


def test_whole_words_are_told_from_pieces(models: Mapping[str, Any]) -> None:
    whole = {PIECES[i] for i in models["bert"].word_starts.nonzero()[:, 0].tolist()}
    assert whole == {p for p in PIECES if not p.startswith(("[", "##"))}
    roberta = models["roberta"]
    tokens = roberta.tokenizer.convert_ids_to_tokens(roberta.word_starts.nonzero()[:, 0].tolist())
    assert tokens
    assert all(token.startswith("\u0120") for token in tokens)


@pytest.mark.parametrize("kind", KINDS)
def test_words_beyond_the_last_position_have_no_pieces(models: Mapping[str, Any], kind: str) -> None:
    pieces = models[kind].tokenize([" ".join(["cat"] * 40)])
    room = 22 if kind == "roberta" else 24
    assert pieces.ids.shape == (1, room)
    spans = pieces.spans[0]
    assert len(spans) == 40
    assert spans[-1] == Span(0, 0)
    assert models[kind].logits(pieces.ids, pieces.mask).isfinite().all()


def test_what_cannot_be_done_is_told(models: Mapping[str, Any]) -> None:
    for wrong in ("a cat", [], ["a cat", " "]):
        with pytest.raises(InvalidInput, match="a list of texts with a word in each"):
            models["bert"].tokenize(wrong)
    with pytest.raises(InvalidInput, match="reads whole numbers"):
        models["bert"].logits(torch.zeros(3))
