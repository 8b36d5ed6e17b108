"""Candidates, order of words and choices against those that the published code gave (SGA's)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from secondlook.attacks.pairs import Pairs
from secondlook.attacks.text.bert_attack import BERTAttack
from secondlook.attacks.text.candidates import CandidateRules, Candidates, ParsedCaption, parse
from secondlook.attacks.text.captions import text_vectors
from secondlook.attacks.text.substitution import (
    UNKNOWN,
    AwayFromImage,
    AwayFromItself,
    TextObjective,
    divergence,
    importance,
    importance_orders,
    substitute,
)
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.models.maskedlm import MaskedLM
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.published import Golden, read

transformers = pytest.importorskip("transformers")
TemplateProcessing = pytest.importorskip("tokenizers.processors").TemplateProcessing

MODES = ("legacy", "corrected")
THRESHOLDS = (0.3, 0.0, 5.0)
REFUSED = "crowd"
"""The word at the very last place that is read, which the published code takes for cut off."""


class Toy(Embedder):
    """The text encoder that the published code was run with; an image is its own vector."""

    name = "golden:toy"

    def __init__(self, weights: Mapping[str, Tensor], tokenizer: Any) -> None:
        self.parts = {key.removeprefix("enc."): v for key, v in weights.items() if "enc." in key}
        self.tokenizer = tokenizer

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        made = self.tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
        ids, mask = made["input_ids"], made["attention_mask"][..., None].float()
        h = self.parts["emb"][ids] + self.parts["pos"][: ids.shape[1]]
        context = (h * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
        u = torch.relu((h + context) @ self.parts["w1"].T)
        return (u * mask).sum(1) / mask.sum(1) @ self.parts["w2"].T

    def encode_image(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class World(NamedTuple):
    golden: Golden
    toy: Toy
    model: MaskedLM


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    golden, folder = read("sga_text"), tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(golden.card["vocab"]))
    words = transformers.BertTokenizerFast.from_pretrained(folder, model_max_length=golden.card["max_length"])
    words.save_pretrained(folder)
    config = transformers.BertConfig(**golden.card["bert_config"])
    network: nn.Module = transformers.BertForMaskedLM(config)
    held = {k.removeprefix("mlm."): v for k, v in golden.weights.items() if k.startswith("mlm.")}
    assert not network.load_state_dict(held, strict=False).missing_keys
    network.save_pretrained(folder)
    model = load(f"hf:{folder}")
    for tokenizer in (words, model.tokenizer):
        # The published tokenizer puts no mark at the end.
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A", special_tokens=[("[CLS]", words.cls_token_id)]
        )
    return World(golden, Toy(golden.weights, words), model)


def rules(mode: str, threshold: float) -> CandidateRules:
    return CandidateRules(threshold=threshold, preceding=mode == "legacy", loose=True)


def table(world: World, mode: str, threshold: float) -> dict[str, Any]:
    found: dict[str, Any] = world.golden.card["results"][mode][f"threshold={threshold}"]
    return found


def taken_apart(world: World, mode: str, threshold: float) -> list[ParsedCaption]:
    candidates = Candidates(world.model, rules(mode, threshold))
    captions = parse(world.golden.card["sentences"], candidates)
    if mode == "corrected":
        for row, draft in enumerate(captions):
            rows = zip(draft.words, draft.options, strict=True)
            captions[row] = draft._replace(options=tuple(o if w != REFUSED else () for w, o in rows))
    return captions


def test_the_networks_are_the_published_ones(world: World) -> None:
    pieces = world.model.tokenize(world.golden.card["sentences"])
    assert torch.equal(pieces.ids, world.golden.inputs["input_ids"])
    seen = pieces.mask.bool()
    found, expected = (world.model.logits(pieces.ids, pieces.mask), world.golden.outputs["mlm_logits"])
    assert torch.allclose(found[seen], expected[seen], atol=1e-4)
    vectors = world.toy.encode_text(world.golden.card["sentences"])
    assert torch.allclose(vectors, world.golden.outputs["text_embed"], atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_candidates_of_every_word(world: World, mode: str, threshold: float) -> None:
    sentences = table(world, mode, threshold)["per_sentence"]
    for draft, expected in zip(taken_apart(world, mode, threshold), sentences, strict=True):
        assert draft.words == tuple(expected["words"])
        for options, place in zip(draft.options, expected["positions"], strict=True):
            assert list(options) == list(dict.fromkeys(place.get("candidates", ())))


def test_order_of_the_words(world: World) -> None:
    sentences = world.golden.card["sentences"]
    origins = text_vectors([world.toy], sentences)
    expected = table(world, "legacy", 0.3)["per_sentence"]
    for row, sentence in enumerate(sentences):
        words = tuple(sentence.split())
        draft = ParsedCaption(sentence, words, (("x",),) * len(words))
        texts = [draft.put({at: UNKNOWN}) for at in range(len(words))]
        owner = torch.full((len(words),), row)
        weights = importance(texts, owner, [world.toy], origins)
        golden = world.golden.outputs[f"importance.{row}"]
        # A divergence of 1e-3 is what is left of terms of the size of 1, in single precision.
        assert torch.allclose(weights, golden, rtol=1e-4, atol=3e-7)
        own = [origin[row : row + 1] for origin in origins]
        (order,) = importance_orders([draft], [draft.places], [world.toy], own)
        # The places behind the last token that is read weigh nothing at all: their order is noise.
        heavy = int((weights > 1e-6).sum())
        assert list(order[:heavy]) == expected[row]["order"][:heavy]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("words", [1, 2])
@pytest.mark.parametrize("guided_by", ["img_guided", "kl_embed"])
def test_choices(world: World, mode: str, threshold: float, words: int, guided_by: str) -> None:
    captions = taken_apart(world, mode, threshold)
    texts = [draft.text for draft in captions]
    victims, raw = [world.toy], guided_by == "kl_embed"
    origins = text_vectors(victims, texts, raw=True)
    guide: TextObjective = AwayFromItself(origins) if raw else AwayFromImage([world.golden.inputs["image_embeds"]])
    # With an image both vectors are unit vectors; without, one of them is raw.
    places = [caption.places for caption in captions]
    order = importance_orders(captions, places, victims, origins if raw else text_vectors(victims, texts))
    start = guide(text_vectors(victims, texts, raw=raw), torch.arange(len(texts)))
    found = substitute(captions, order, words, lambda t: text_vectors(victims, t, raw=raw), guide, start)
    assert found == table(world, mode, threshold)[f"n={words}"][guided_by]


@pytest.mark.parametrize("words", [1, 2])
@pytest.mark.parametrize("guide", ["image", "caption"])
def test_the_attack_itself_as_published(world: World, words: int, guide: str) -> None:
    vectors = world.golden.inputs["image_embeds"]

    class Shown(Toy):
        def encode_image(self, x: Tensor) -> Tensor:
            return vectors[(x[:, 0, 0, 0] * 255).round().long()]

    victim = Shown(world.golden.weights, world.toy.tokenizer)
    sentences = world.golden.card["sentences"]
    rows = torch.arange(len(sentences)) / 255
    images = rows.view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    attack = BERTAttack(mlm=world.model, words=words, guide=guide, legacy=True)  # type: ignore[arg-type]
    pairs = Pairs(images, tuple((sentence,) for sentence in sentences))
    found = attack(victim, pairs, Threat(), Keys.of(0, range(len(sentences))))
    published = table(world, "legacy", 0.3)[f"n={words}"]
    kind = "img_guided" if guide == "image" else "kl_embed"
    assert [texts[0] for texts in found.captions] == published[kind]


def test_divergence_is_that_of_distributions() -> None:
    origin, other = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    p, q = origin.softmax(1), other.softmax(1)
    assert torch.allclose(divergence(origin, other), (p * (p / q).log()).sum(1))
    assert divergence(origin, origin) == 0
