"""Captioners of transformers: tiny ones in its own format, against its own answers."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models import load
from secondlook.models.captioner import Captioner
from secondlook.models.families.hf.chat import MergedPatches
from secondlook.models.families.hf.embedders import BlipEmbedder
from secondlook.randomness import Keys
from tests.models import captioner_models, hub_models

transformers = pytest.importorskip("transformers")

KINDS = tuple(captioner_models.NETWORKS)
CHATS = tuple(captioner_models.CHATS)
PLAIN = ("blip", "blip2", "git")
TEXTS = ("a red cat", "the dog", "two small blue cat and it")
ASKED = "what is it"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    for kind in KINDS:
        captioner_models.save(folder, kind)
    return folder


@pytest.fixture(scope="module")
def models(made: Path) -> Mapping[str, Any]:
    return {kind: load(f"hf:{made / kind}") for kind in KINDS}


def pictures(n: int = 3, size: int = 32) -> Tensor:
    """Pictures of 8-bit pixels, one darker than the other."""
    noise = torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))
    return ((0.3 * noise + torch.linspace(0, 0.7, n)[:, None, None, None]) * 255).round() / 255


def keys(n: int) -> Keys:
    return Keys.of(0, range(n))


def prepared(kind: str, x: Tensor, asked: str) -> dict[str, Tensor]:
    """What the family's own processors make of one picture and a prompt, for its own network."""
    tokenizer = captioner_models.tokenizer(places=not kind.startswith("blip"))
    pixels = captioner_models.image_processor(kind)
    shown = Image.fromarray((x[0] * 255).round().byte().permute(1, 2, 0).numpy())
    if kind in CHATS:
        given = dict(pixels(shown, return_tensors="pt"))
        given.pop("num_patches", None)
        places = " ".join(["<image>"] * (4 if kind == "internvl" else 16))
        places = places if kind == "llava" else f"<img> {places} </img>"
        ids = tokenizer(f"<s>USER {places} {asked} ASSISTANT", add_special_tokens=False)
        given["input_ids"] = torch.tensor([ids["input_ids"]])
        if kind.startswith("qwen"):
            given["mm_token_type_ids"] = (given["input_ids"] == captioner_models.IMAGE).int()
        return given
    if kind == "florence":
        processor = transformers.Florence2Processor(pixels, tokenizer)
        return dict(processor(images=shown, text=asked, return_tensors="pt"))
    if kind.startswith("blip2"):
        processor = transformers.Blip2Processor(pixels, tokenizer, num_query_tokens=3)
        return dict(processor(images=shown, text=asked, return_tensors="pt"))
    if kind == "blip":
        processor = transformers.BlipProcessor(pixels, tokenizer)
        return dict(processor(images=shown, text=asked or None, return_tensors="pt"))
    given = dict(pixels(shown, return_tensors="pt"))
    ids = tokenizer(f"<s>{asked}", add_special_tokens=False)["input_ids"]
    return {**given, "input_ids": torch.tensor([ids])}


def spelled(ids: Tensor, given: Mapping[str, Tensor], kind: str) -> str:
    before = given["input_ids"].shape[1] if "input_ids" in given else 1
    skip = {"florence": 0, "blip2_t5": 0, "blip": before - 1 if "input_ids" in given else 1}
    text: str = captioner_models.tokenizer(places=not kind.startswith("blip")).decode(
        ids[0, skip.get(kind, before) :], skip_special_tokens=True
    )
    return text


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_and_beam_are_those_of_transformers(models: Mapping[str, Any], kind: str) -> None:
    model, x = models[kind], pictures()
    assert isinstance(model, Captioner)
    asked = {"florence": "<CAPTION>"}.get(kind, ASKED if kind in CHATS else "")
    said = {style: model.caption(x, keys(3), style=style, length=7, prompt=asked) for style in ("greedy", "beam")}
    assert len(set(said["greedy"])) > 1, "these tiny networks do see"
    for row in range(3):
        given = prepared(kind, x[row : row + 1], asked)
        for style, beams in (("greedy", 1), ("beam", 3)):
            ids = model.network.generate(**given, do_sample=False, num_beams=beams, max_new_tokens=7)
            assert said[style][row] == spelled(ids, given, kind)


@pytest.mark.parametrize("kind", PLAIN)
def test_a_prompt_is_gone_on_from(models: Mapping[str, Any], kind: str) -> None:
    x, asked = pictures(1), "a photo of"
    said = models[kind].caption(x, keys(1), length=5, prompt=asked)
    given = prepared(kind, x, asked)
    ids = models[kind].network.generate(**given, do_sample=False, num_beams=1, max_new_tokens=5)
    assert said == [spelled(ids, given, kind)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_likelihood_is_minus_the_networks_own_loss(models: Mapping[str, Any], kind: str) -> None:
    model, x = models[kind], pictures()
    asked = {"florence": "<CAPTION>"}.get(kind, ASKED if kind in CHATS else "")
    found = model.likelihood(x, TEXTS, asked)
    for row, text in enumerate(TEXTS):
        given = prepared(kind, x[row : row + 1], asked)
        if kind in ("florence", "blip2_t5"):
            given["labels"] = captioner_models.tokenizer()([text], return_tensors="pt")["input_ids"]
        else:
            begun = given.pop("input_ids", torch.tensor([[0]]))
            given.pop("attention_mask", None)
            words = captioner_models.tokenizer()([text], return_tensors="pt")["input_ids"][:, 1:]
            ids = torch.cat([begun, words], dim=1)
            given |= {"input_ids": ids, "labels": ids.clone()}
            given["labels"][:, : begun.shape[1]] = -100
            if "mm_token_type_ids" in given:
                given["mm_token_type_ids"] = (ids == captioner_models.IMAGE).int()
        with torch.no_grad():
            loss = model.network(**given).loss
        assert float(found[row]) == pytest.approx(-float(loss), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_the_slope(models: Mapping[str, Any], kind: str) -> None:
    model = models[kind]
    x = pictures(4)[1:3].requires_grad_(True)
    with counting() as ledger:
        (gradient,) = torch.autograd.grad(model.likelihood(x, TEXTS[:2])[0], x)
    assert (ledger.forwards, ledger.backwards) == (2, 2)
    assert float(gradient[0].norm()) > 0
    assert float(gradient[1].abs().max()) == 0
    step = 0.005 * gradient / gradient.square().sum()
    with torch.no_grad():
        up, down = (float(model.likelihood(v, TEXTS[:2])[0]) for v in (x + step, x - step))
    assert up - down == pytest.approx(0.01, rel=0.05)
    assert not any(weight.requires_grad for weight in model.network.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_texts_and_likelihoods_do_not_depend_on_the_batch(models: Mapping[str, Any], kind: str) -> None:
    model, x = models[kind], pictures()
    how: dict[str, Any] = {"style": "sample", "length": 6, "top_p": 0.95}
    together = model.caption(x, keys(3), **how)
    alone = [model.caption(x[r : r + 1], keys(3)[r : r + 1], **how)[0] for r in range(3)]
    assert together == alone
    assert model.caption(x.flip(0), Keys(keys(3).words[::-1]), **how) == together[::-1]
    assert model.caption(x, keys(3).fold("again"), **how) != together
    found = model.likelihood(x, TEXTS)
    one = torch.cat([model.likelihood(x[r : r + 1], TEXTS[r : r + 1]) for r in range(3)])
    assert torch.allclose(found, one, atol=1e-4)


def test_random_words_come_from_the_key_alone(models: Mapping[str, Any]) -> None:
    before = torch.get_rng_state()
    said = models["git"].caption(pictures(), keys(3), style="sample", length=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert models["git"].caption(pictures(), keys(3), style="sample", length=5) == said


@pytest.mark.parametrize("kind", ["llava", "git", "qwen2"])
def test_cold_and_narrow_draws_are_greedy(models: Mapping[str, Any], kind: str) -> None:
    x = pictures()
    greedy = models[kind].caption(x, keys(3), length=6)
    for how in ({"temperature": 1e-4}, {"top_p": 1e-6}):
        assert models[kind].caption(x, keys(3), style="sample", length=6, **how) == greedy


@pytest.mark.parametrize("size", [(32, 32), (13, 50), (70, 66), (3, 9), (160, 90)])
def test_qwens_patches_are_those_of_its_processor(size: tuple[int, int]) -> None:
    given = captioner_models.image_processor("qwen2")
    patches = MergedPatches(
        patch=4,
        merge=2,
        frames=2,
        least=256,
        most=2304,
        filter="bicubic",
        mean=tuple(given.image_mean),
        std=tuple(given.image_std),
    )
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(3))
    x = (x * 255).round() / 255
    shown = [Image.fromarray((v * 255).round().byte().permute(1, 2, 0).numpy()) for v in x]
    expected = given(shown, return_tensors="pt")
    found = patches(x)
    assert torch.equal(found["image_grid_thw"], expected["image_grid_thw"])
    assert found["pixel_values"].shape == expected["pixel_values"].shape
    # Their resize rounds to 8 bits.
    assert float((found["pixel_values"] - expected["pixel_values"]).abs().max()) < 1.2 / 255 / 0.26
    assert patches.tokens(*size) == int(expected["image_grid_thw"][0].prod()) // 4


def test_qwen_takes_pictures_of_any_shape(models: Mapping[str, Any]) -> None:
    model = models["qwen3"]
    assert model.size is None
    x = torch.rand(2, 3, 21, 40, generator=torch.Generator().manual_seed(3))
    assert len(model.caption(x, keys(2), length=3)) == 2
    assert bool(model.likelihood(x, TEXTS[:2]).isfinite().all())


def test_both_resolutions(made: Path, models: Mapping[str, Any]) -> None:
    native, x = load(f"hf:{made / 'blip'}?resolution=native"), pictures(size=50)
    assert (models["blip"].size, native.size) == ((32, 32), None)
    assert torch.allclose(native.likelihood(x, TEXTS), models["blip"].likelihood(x, TEXTS))


def test_architectures_tell_captioners_from_embedders(made: Path, tmp_path: Path) -> None:
    hub_models.save(tmp_path, "blip")
    assert isinstance(load(f"hf:{tmp_path / 'blip'}"), BlipEmbedder)
    assert isinstance(load(f"hf:{made / 'blip'}"), Captioner)
    folder = shutil.copytree(made / "blip", tmp_path / "retrieval")
    settings = json.loads((folder / "config.json").read_text())
    settings["architectures"] = ["BlipForImageTextRetrieval"]
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(InvalidInput, match="no weights for .* of BlipForImageTextRetrieval"):
        load(f"hf:{folder}")


def test_a_prompt_with_a_place_for_the_image_stands_as_it_is(
    made: Path, models: Mapping[str, Any], tmp_path: Path
) -> None:
    folder = shutil.copytree(made / "llava", tmp_path / "llava")
    (folder / "chat_template.jinja").unlink()
    bare, x = load(f"hf:{folder}"), pictures(2)
    with pytest.raises(InvalidInput, match="no chat template; write the whole prompt, with <image>"):
        bare.caption(x, keys(2))
    whole = f"<s>USER <image> {ASKED} ASSISTANT"
    asked = models["llava"].caption(x, keys(2), prompt=ASKED)
    assert bare.caption(x, keys(2), prompt=whole) == asked
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": captioner_models.CHAT}))
    assert load(f"hf:{folder}").caption(x, keys(2), prompt=ASKED) == asked


def test_what_cannot_be_done_is_told(models: Mapping[str, Any]) -> None:
    model, x = models["git"], pictures(2)
    with pytest.raises(InvalidInput, match="2 image.s. need as many texts"):
        model.likelihood(x, ["a cat"])
    with pytest.raises(InvalidInput, match="none of them empty"):
        model.likelihood(x, ["a cat", " "])
    with pytest.raises(InvalidInput, match="style='nucleus' is unknown"):
        model.caption(x, keys(2), style="nucleus")
    with pytest.raises(InvalidInput, match="divide by 255"):
        model.caption(255 * x, keys(2))
    assert model.caption(x[:0], keys(0)) == []


def test_a_picture_too_slim_for_qwen_is_refused() -> None:
    """Its own processor refuses above 200 to 1."""
    flat = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    patches = MergedPatches(patch=14, merge=2, frames=2, least=3136, most=1003520, filter="bicubic", **flat)
    assert patches.target(200, 1) and patches.target(1, 200)
    with pytest.raises(InvalidInput, match="960x2 is more than 200 times"):
        patches.target(960, 2)
