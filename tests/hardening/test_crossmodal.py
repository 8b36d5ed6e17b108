"""From one modality into the other: made once, by the name of a sample, and never in vain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secondlook import registry
from secondlook.errors import InvalidInput
from secondlook.hardening.base import StepContext
from secondlook.hardening.crossmodal import GeneratedCaptions, GeneratedImages
from secondlook.hardening.embedder import TrainableEmbedder
from secondlook.hardening.text_augmentation import Rewriter
from secondlook.models.captioner import Captioner, Sentence
from secondlook.models.painter import Painter
from secondlook.models.text.decoding import Decoding
from secondlook.randomness import Keys
from tests.hardening.toy import ToyDataset, toy_embedder
from tests.hardening.toy_mlm import Thesaurus
from tests.models.hub_models import tokenizer

DATA = ToyDataset(60)
ALL = DATA.read(range(60))
KEYS = Keys.of(0, DATA.ids)


class Brush(Painter):
    """Paints a bright or a dark square on a gray that is never the same."""

    name, size, steps, guidance = "data:brush", (8, 8), 1, 1.0

    def __init__(self) -> None:
        self.asked = 0

    def draw(self, texts: Sequence[str], keys: Keys, steps: int, guidance: float) -> Tensor:
        self.asked += len(texts)
        level = torch.tensor([0.8 if "bright" in text else 0.2 for text in texts])
        made = 0.5 + 0.1 * keys.uniform((3, 8, 8))
        made[:, :, 2:6, 2:6] = level[:, None, None, None]
        return made


class Constant(Brush):
    """Paints one picture, or no picture at all."""

    def __init__(self, picture: Tensor) -> None:
        self.picture = picture

    def draw(self, texts: Sequence[str], keys: Keys, steps: int, guidance: float) -> Tensor:
        return self.picture.expand(len(texts), -1, -1, -1)


class Pen(Captioner):
    """Says what it sees, or nothing."""

    name, end = "data:pen", 0

    def __init__(self, dumb: bool = False) -> None:
        self.dumb, self.asked = dumb, 0

    def tokens(self, texts: Sequence[str], prompt: str) -> Sentence:
        raise NotImplementedError

    def detokenize(self, ids: Tensor) -> str:
        raise NotImplementedError

    def logits(self, x: Tensor, ids: Tensor, prompt: str) -> Tensor:
        raise NotImplementedError

    def write(self, x: Tensor, keys: Keys, decoding: Decoding, prompt: str) -> list[str]:
        self.asked += len(x)
        told = ["two bright thing" if float(each[1].mean()) > 0.5 else "two dark thing" for each in x]
        return ["" for _ in x] if self.dumb else told


def test_captions_are_written_once_for_each_image_and_keep_to_it() -> None:
    pen = Pen()
    way = GeneratedCaptions(captioner=pen)
    told = way(ALL, KEYS.fold("step", 1))
    assert told == [f"two {DATA.classes[int(t)]} thing" for t in ALL.truth]
    assert way(ALL.take([7, 7, 3]), KEYS[torch.tensor([7, 7, 3])]) == [told[7], told[7], told[3]]
    assert pen.asked == 60


def test_pictures_are_of_the_caption_and_do_not_depend_on_batch_or_moment() -> None:
    brush = Brush()
    way = GeneratedImages(painter=brush)
    made = way(ALL, KEYS.fold("step", 1))
    assert made.shape == ALL.images.shape
    bright = made[:, :, 1:3, 1:3].mean((1, 2, 3)) > 0.5
    assert torch.equal(bright, ALL.truth == 1)
    fresh = GeneratedImages(painter=Brush())
    rows = [9, 4]
    again = fresh(ALL.take(rows), KEYS[torch.tensor(rows)].fold("step", 2))
    assert torch.equal(again, made[rows])
    assert torch.equal(way(ALL, KEYS.fold("step", 3)), made) and brush.asked == 60


def test_variants_are_different_pictures_of_one_caption() -> None:
    brush = Brush()
    way = GeneratedImages(painter=brush, variants=2)
    seen = [way(ALL, KEYS.fold("step", step)) for step in range(8)]
    kinds = torch.stack(seen)[:, 0].flatten(1).unique(dim=0)
    assert len(kinds) == 2
    assert brush.asked <= 120


@pytest.mark.parametrize(
    ("picture", "told"),
    [
        (torch.full((3, 8, 8), 0.5), "images of one value each"),
        (torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)), "the same image of"),
    ],
)
def test_a_painter_whose_pictures_say_nothing_is_refused(picture: Tensor, told: str) -> None:
    with pytest.raises(InvalidInput, match=f"data:brush paints .*{told}.*painted=0"):
        GeneratedImages(painter=Constant(picture))(ALL, KEYS)


def test_a_painter_of_no_numbers_is_refused() -> None:
    nothing = Constant(torch.full((3, 8, 8), float("nan")))
    with pytest.raises(InvalidInput, match="data:brush painted NaN or infinite pixels of"):
        GeneratedImages(painter=nothing)(ALL, KEYS)


def test_a_captioner_that_says_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="data:pen writes nothing for 60 images.*captioned=0"):
        GeneratedCaptions(captioner=Pen(dumb=True))(ALL, KEYS)


def plus(**settings: Any) -> Any:
    return registry.build("method", "mat+", {"eps": 4 / 255, "mlm": Thesaurus(), **settings})


def test_matplus_draws_both_by_their_weights_and_describes_each() -> None:
    method = plus(original=1.0, human=0.0, captioned=1.0, painted=0.5, captioner=Pen(), painter=Brush())
    context = StepContext(KEYS, 0.0)
    said, shown = method.draw_captions(ALL, context), method.draw_images(ALL, context)
    assert 15 < sum(text.startswith("two") for text in said) < 45
    changed = (shown != ALL.images).flatten(1).any(1)
    assert 15 < int(changed.sum()) < 45
    found = method.diagnose(TrainableEmbedder(toy_embedder(), "all"), DATA)
    assert set(found) == {"captions", "captions, captioned", "images", "images, painted"}
    assert found["images, painted"].frechet > found["images"].frechet > 0
    assert abs(found["captions, captioned"].diversity) < 1e-6 < found["captions"].diversity


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"rewritten": 1.0}, "rewriter=FOLDER"),
        ({"randaugment": 0.6, "painted": 0.6}, "1 - randaugment - painted"),
        ({"variants": 0}, "variants=0"),
        ({"captioned": -1.0}, "captioned=-1"),
    ],
)
def test_settings_that_cannot_be_are_named(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        plus(**settings)


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(InvalidInput, match="painter='scenes:vae' is no painter"):
        _ = plus(painted=0.5, painter="scenes:vae").images
    with pytest.raises(InvalidInput, match="captioner='scenes:clip' is no captioner"):
        _ = plus(captioned=0.5, captioner="scenes:clip").texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 of a few numbers, with random weights."""
    transformers = pytest.importorskip("transformers")
    where, words = tmp_path_factory.mktemp("t5"), tokenizer()
    config = transformers.T5Config(
        vocab_size=len(words),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        pad_token_id=words.pad_token_id,
        eos_token_id=words.eos_token_id or words.sep_token_id or 1,
        decoder_start_token_id=words.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.T5ForConditionalGeneration(config).save_pretrained(where)
    words.save_pretrained(where)
    return where


def test_a_text_is_rewritten_by_its_own_key(folder: Path) -> None:
    way, texts = Rewriter(str(folder), "say again: {}"), ["one dark thing", "two bright thing"] * 3
    keys = Keys.of(0, range(6))
    told = way(texts, keys)
    assert len(told) == 6 and all(text.strip() for text in told)
    assert len(set(told)) > 2
    rows = [4, 1]
    assert way([texts[row] for row in rows], keys[torch.tensor(rows)]) == [told[r] for r in rows]
    assert told != way(texts, keys.fold("another step"))


def test_what_rewrites_nothing_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        Rewriter(str(tmp_path))
    method = plus(human=0.0, rewritten=1.0, rewriter=str(folder), original=0.0)
    assert len(method.draw_captions(ALL.take([0, 1]), StepContext(KEYS[:2], 0.0))) == 2
