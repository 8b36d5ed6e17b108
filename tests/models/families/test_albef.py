"""ALBEF: a tiny checkpoint in the published format, against the published code's answers."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models import load
from secondlook.models.families.albef import AlbefEmbedder
from secondlook.models.families.albef.adapter import adapted, cleaned
from secondlook.models.families.albef.network import PUBLISHED, AlbefNetwork, Arguments
from secondlook.models.io.preprocessing import squeezed
from secondlook.models.text.wordpiece import Tokens
from tests import published
from tests.published import Golden

CLOSE = {"atol": 2e-5, "rtol": 1e-4}


@pytest.fixture(scope="module")
def told(shared: Path) -> Golden:
    return published.read("albef_tiny", shared / "golden")


@pytest.fixture(scope="module")
def folder(told: Golden, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuned checkpoint, and words that say their own number."""
    made = tmp_path_factory.mktemp("albef")
    published.save(made / "tiny.pth", {"model": told.weights, "epoch": 4}, told.card["config"])
    marks = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    (made / "vocab.txt").write_text("\n".join([*marks, *(f"w{row}" for row in range(4, 200))]))
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> AlbefEmbedder:
    loaded = load(f"albef:{folder / 'tiny.pth'}")
    assert isinstance(loaded, AlbefEmbedder)
    return loaded


@pytest.fixture(scope="module")
def tokens(told: Golden) -> Tokens:
    return Tokens(told.inputs["input_ids"], told.inputs["attention_mask"])


@pytest.fixture(scope="module")
def texts(tokens: Tokens) -> list[str]:
    """Texts whose tokens are the golden ones."""
    rows = [ids[seen.bool()][1:-1] for ids, seen in zip(*tokens, strict=True)]
    return [" ".join(f"w{number}" for number in row) for row in rows]


def picture(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def test_vectors_are_golden(model: AlbefEmbedder, told: Golden, tokens: Tokens) -> None:
    network, wanted = model.network, told.outputs
    seen, read = network.image_states(told.inputs["image"]), network.text_states(tokens)
    images, texts = network.image_vectors(seen), network.text_vectors(read)
    torch.testing.assert_close(seen, wanted["image_embeds"], **CLOSE)
    torch.testing.assert_close(read, wanted["text_embeds"], **CLOSE)
    torch.testing.assert_close(images, wanted["image_feat"], **CLOSE)
    torch.testing.assert_close(texts, wanted["text_feat"], **CLOSE)
    torch.testing.assert_close(images @ texts.T, wanted["itc_sim"], **CLOSE)


def test_fusion_and_matching_are_golden(model: AlbefEmbedder, told: Golden, tokens: Tokens) -> None:
    network, wanted = model.network, told.outputs
    seen, read, mask = (network.image_states(told.inputs["image"]), network.text_states(tokens), tokens.mask)
    first = network.text_encoder.fuse(read, mask, seen[:1].expand(5, -1, -1))
    torch.testing.assert_close(first, wanted["fusion_image0"], **CLOSE)
    rowwise = network.text_encoder.fuse(read[:4], mask[:4], seen)
    torch.testing.assert_close(rowwise, wanted["multi_modal_pairs"], **CLOSE)
    images, captions = torch.cartesian_prod(torch.arange(4), torch.arange(5)).unbind(1)
    logits = network.match(seen[images], read[captions], mask[captions])
    torch.testing.assert_close(logits.view(4, 5, 2), wanted["itm_logits"], **CLOSE)


def test_the_images_gradient_is_golden(model: AlbefEmbedder, told: Golden, tokens: Tokens) -> None:
    x = told.inputs["image"].clone().requires_grad_(True)
    words = model.network.text_vectors(model.network.text_states(tokens))[:4]
    score = (model.network.image_vectors(model.network.image_states(x)) * words).sum()
    (slope,) = torch.autograd.grad(score, x)
    wanted = told.outputs["grad_image_itc"]
    largest = float(wanted.abs().max())
    torch.testing.assert_close(F.avg_pool2d(slope, 8), wanted, atol=1e-3 * largest, rtol=1e-3)


def test_the_published_names_are_the_networks_and_those_dropped() -> None:
    card = published.card("albef_keys")
    assert Arguments(**card["config"]) == PUBLISHED
    with torch.device("meta"):
        network = AlbefNetwork(PUBLISHED)
        held = {key: torch.empty(shape) for key, shape in card["keys"].items()}
    wanted = {key: value.shape for key, value in network.state_dict().items()}
    assert len(held) == 831
    assert {key: value.shape for key, value in adapted(held, PUBLISHED).items()} == wanted
    x, ids = (torch.empty(2, *shape, device="meta") for shape in ((3, 384, 384), (30,)))
    seen, mask = network.image_states(x), ids.long()
    read = network.text_states(Tokens(mask, mask))
    assert seen.shape == (2, 577, 768) and network.text_vectors(read).shape == (2, 256)
    assert network.match(seen, read, mask).shape == (2, 2)
    # The temperature is the one parameter of the published network that this one has no use for.
    assert sum(p.numel() for p in network.parameters()) + 1 == card["n_params_online"]


def test_texts_are_golden_from_words_on(model: AlbefEmbedder, told: Golden, texts: list[str]) -> None:
    torch.testing.assert_close(model.encode_text(texts), told.outputs["text_feat"], **CLOSE)
    shouted = [text.upper().replace(" ", ", ") + "!" for text in texts]
    assert model.encode_text(shouted).equal(model.encode_text(texts))


def test_pixels_are_resized_and_normalized_inside(model: AlbefEmbedder) -> None:
    x = picture(2, 3, 50, 80)
    seen = model.network.image_states(squeezed(64)(x))
    torch.testing.assert_close(model.embed(x), model.network.image_vectors(seen))
    assert model.embed(x).norm(dim=-1).allclose(torch.ones(2))


@pytest.mark.parametrize("size", [(64, 64), (100, 90)])
def test_gradients_reach_the_pixels(model: AlbefEmbedder, texts: list[str], size: tuple[int, int]) -> None:
    x = (0.3 + 0.4 * picture(2, 3, *size)).requires_grad_(True)
    for score in (model.embed(x)[:, 0], model.match(x, texts[:2])):
        (slope,) = torch.autograd.grad(score.sum(), x)
        assert slope.isfinite().all() and (slope != 0).float().mean() > 0.9


def test_pairs_are_matched_as_the_network_does(model: AlbefEmbedder, tokens: Tokens, texts: list[str]) -> None:
    x = picture(4, 3, 64, 64)
    seen, read = (model.network.image_states(squeezed(64).normalized(x)), model.network.text_states(tokens))
    wanted = model.network.match(seen, read[:4], tokens.mask[:4])
    torch.testing.assert_close(model.match_logits(x, texts[:4]), wanted, **CLOSE)
    torch.testing.assert_close(model.match(x, texts[:4]), wanted.softmax(-1)[:, 1], **CLOSE)


def test_one_image_is_encoded_once_for_many_texts(model: AlbefEmbedder, texts: list[str]) -> None:
    x, pairs = picture(2, 3, 64, 64), torch.tensor([[1, 4], [0, 0], [1, 0], [1, 1]])
    with counting() as ledger:
        found = model.match(x, texts, pairs)
    assert ledger.forwards == 2
    alone = model.match(x[[1, 0, 1, 1]], [texts[row] for row in (4, 0, 0, 1)])
    torch.testing.assert_close(found, alone)


def test_pairs_that_are_none_are_refused(model: AlbefEmbedder, texts: list[str]) -> None:
    x = picture(2, 3, 64, 64)
    with pytest.raises(InvalidInput, match=r"2 image\(s\) and 5 text\(s\) do not pair"):
        model.match(x, texts)
    for pairs in ([[2, 0]], [[0, 5]], [[-1, 0]], [[0, 0, 0]]):
        with pytest.raises(InvalidInput, match=r"rows of 2 images, of 5 texts"):
            model.match(x, texts, torch.tensor(pairs))


def test_a_pre_trained_checkpoint_is_unwrapped_and_refitted(model: AlbefEmbedder, told: Golden, folder: Path) -> None:
    wrap = re.compile(r"^(text_encoder|text_encoder_m)\.")
    weights = {wrap.sub(r"\1.bert.", key): value for key, value in told.weights.items()}
    weights["text_encoder.cls.predictions.bias"] = torch.zeros(200)
    weights["visual_encoder.pos_embed"] = torch.full((1, 5, 48), 0.25)
    published.save(folder / "wrapped.pth", {"model": weights}, told.card["config"])
    wrapped = load(f"albef:{folder / 'wrapped.pth'}").network.state_dict()
    for key, value in model.network.state_dict().items():
        if key == "visual_encoder.pos_embed":
            torch.testing.assert_close(wrapped[key], torch.full((1, 17, 48), 0.25))
        else:
            assert wrapped[key].equal(value), key


def test_half_precision_and_safetensors_are_read(model: AlbefEmbedder, told: Golden, folder: Path) -> None:
    path = published.save(folder / "half.pth", {}, told.card["config"])
    halves = {k: v.half() if v.is_floating_point() else v for k, v in told.weights.items()}
    save_file(halves, path.with_suffix(".safetensors"))
    half = load(f"albef:{path.with_suffix('.safetensors')}")
    assert all(p.dtype == torch.float32 for p in half.network.parameters())
    torch.testing.assert_close(half.encode_text(["w5"]), model.encode_text(["w5"]), atol=1e-2, rtol=0)


def test_wrong_files_are_named(folder: Path, told: Golden, tmp_path: Path) -> None:
    config: dict[str, Any] = told.card["config"]
    lacking = {key: value for key, value in told.weights.items() if "itm_head" not in key}
    name = f"albef:{published.save(tmp_path / 'tiny.pth', {'model': lacking}, config)}"
    with pytest.raises(InvalidInput, match=f"put vocab.txt into {tmp_path}, beside tiny.pth"):
        load(name)
    (tmp_path / "vocab.txt").symlink_to(folder / "vocab.txt")
    with pytest.raises(InvalidInput, match="lacks itm_head.weight, itm_head.bias; take the publ"):
        load(name)
    strange = told.weights | {"text_decoder.bias": torch.zeros(1)}
    published.save(tmp_path / "tiny.pth", {"model": strange}, config)
    with pytest.raises(InvalidInput, match="and the network has not, text_decoder.bias"):
        load(name)
    (tmp_path / "tiny.json").write_text('{"image_res": 64}')
    with pytest.raises(InvalidInput, match="tiny.json: embed_dim: Field required; write it like"):
        load(name)


def test_captions_are_cleaned() -> None:
    assert cleaned('<person> in a "well-worn" hat / cap,  (left)...') == ("person in a well worn hat cap left")
    assert cleaned("a " * 40).count("a") == 30
