"""The shipped models' adapter, on tiny random weights that are written as training writes them."""

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from secondlook.errors import InvalidInput, UnknownName
from secondlook.ledger import counting
from secondlook.models import load
from secondlook.models.base import Purifier
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from secondlook.scenes.captions import PROMPT, class_names
from secondlook.scenes.family import NETWORKS, Scenes
from secondlook.scenes.models.clip import SceneEmbedder
from secondlook.scenes.models.purifiers import DenoiserNetwork, SceneDiffusion
from secondlook.scenes.source import SceneBatch, render_batch
from secondlook.scenes.tokenizer import Tokenizer
from secondlook.scenes.training.losses import corrupted

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "clip": {"network": "ClipNetwork", "tower": "conv", "vocabulary": Tokenizer().size, "dim": 16},
    "ae": {"network": "AutoencoderNetwork", "variational": False, "channels": 4},
    "vae": {"network": "AutoencoderNetwork", "variational": True, "channels": 4},
    "diffusion": {"network": "DenoiserNetwork", "width": 8, "deep": 8, "time": 8},
}
PURIFIERS = ("ae", "vae", "diffusion")


def build(architecture: dict[str, Any]) -> nn.Module:
    settings = dict(architecture)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NETWORKS[settings.pop("network")].network(**settings)


def write(folder: Path, name: str) -> None:
    network = build(ARCHITECTURES[name])
    halved = {key: value.half() if value.is_floating_point() else value for key, value in network.state_dict().items()}
    held = save(halved)
    (folder / f"{name}.safetensors").write_bytes(held)
    card = {
        "role": "purifier" if name in PURIFIERS else "embedder",
        "architecture": ARCHITECTURES[name],
        "parameters": 123456,
        "measured": {"psnr_db": 20.5},
        "command": f"secondlook train scenes:{name}",
        "sha256": hashlib.sha256(held).hexdigest(),
    }
    (folder / f"{name}.json").write_text(json.dumps(card))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    for name in ARCHITECTURES:
        write(tmp_path, name)
    return tmp_path


def picture(n: int, side: int = 64) -> Tensor:
    return 0.2 + 0.6 * torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1))


def slope_and_norm(score: Any, x: Tensor) -> tuple[float, float]:
    """The slope of ``score`` along its gradient at ``x``, and the gradient's length."""
    x = x.clone().requires_grad_(True)
    (grad,) = torch.autograd.grad(score(x), x)
    step = 0.02 * grad / grad.norm()
    with torch.no_grad():
        return float((score(x + step) - score(x - step)) / 0.04), float(grad.norm())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_shipped_halves_become_frozen_fp32_in_eval_mode(weights: Path, name: str) -> None:
    model = Scenes(name=name, weights=weights).load()
    (network,) = model.modules
    assert model.name == f"scenes:{name}"
    assert not any(part.training for part in network.modules())
    original = build(ARCHITECTURES[name]).state_dict()
    for key, value in network.named_parameters():
        assert value.dtype == torch.float32
        assert not value.requires_grad
        assert torch.equal(value, original[key].half().float())


def test_the_embedder_gives_unit_vectors_of_images_of_any_size(weights: Path) -> None:
    model = Scenes(name="clip", weights=weights).load()
    assert isinstance(model, SceneEmbedder)
    assert model.size == (64, 64)
    vectors = torch.cat([model.embed(picture(2, side)) for side in (64, 30, 100)])
    assert vectors.shape == (6, 16)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(6), atol=1e-5)
    texts = model.embed_text(["a red circle", "A RED circle!", "a blue star"])
    assert torch.equal(texts[0], texts[1])
    assert not torch.allclose(texts[0], texts[2])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_gradient_is_the_slope(weights: Path, name: str) -> None:
    model, keys = Scenes(name=name, weights=weights).load(), Keys.of(0, "a")

    def score(x: Tensor) -> Tensor:
        out = model.reconstruct(x, keys) if isinstance(model, Purifier) else model.embed(x)
        weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
        return (out * weight).sum()

    slope, norm = slope_and_norm(score, picture(1))
    assert norm > 0
    assert slope == pytest.approx(norm, rel=0.05)


@pytest.mark.parametrize("name", PURIFIERS)
def test_draws_belong_to_the_key_and_not_to_the_batch(weights: Path, name: str) -> None:
    model, x, keys = purifier(weights, name), picture(4), Keys.of(3, "abcd")
    if name == "ae":
        model = model.with_noise(5.0)
    with torch.no_grad():
        whole = model.purify(x, keys)
        parts = torch.cat([model.purify(x[i : i + 1], keys[i : i + 1]) for i in range(4)])
        other = model.purify(x, keys.fold("again"))
    assert torch.allclose(parts, whole, atol=1e-5)
    assert float((other - whole).abs().amax(dim=(1, 2, 3)).min()) > 1e-3


@pytest.mark.parametrize(
    ("name", "noises"), [("ae", (0.0, 0.1, 0.5, 2.0)), ("vae", (0.0, 0.3, 1.0, 3.0)), ("diffusion", (0.01, 0.1, 0.4))]
)
def test_the_knob_changes_the_strength(weights: Path, name: str, noises: tuple[float, ...]) -> None:
    model, x = purifier(weights, name), picture(4)
    many, keys = x.repeat_interleave(6, 0), Keys.of(0, range(4)).repeat(6)
    spread = []
    for noise in noises:
        with torch.no_grad():
            draws = model.with_noise(noise).purify(many, keys).unflatten(0, (4, 6))
        spread.append(float(draws.std(dim=1).mean()))
    assert spread == sorted(spread)
    assert spread[-1] > 2 * spread[0]


def purifier(weights: Path, name: str) -> Any:
    return Scenes(name=name, weights=weights).load()


def test_only_an_autoencoder_without_noise_is_deterministic(weights: Path) -> None:
    ae, vae, diffusion = (purifier(weights, name) for name in PURIFIERS)
    assert [ae.stochastic, vae.stochastic, diffusion.stochastic] == [False, True, True]
    assert vae.noise == 1.0
    assert ae.with_noise(0.2).stochastic
    assert not vae.with_noise(0).stochastic
    assert not ae.stochastic


def test_diffusion_asks_its_network_as_often_as_told() -> None:
    network = build(ARCHITECTURES["diffusion"]).eval()
    assert isinstance(network, DenoiserNetwork)
    asked: list[int] = []
    network.register_forward_hook(lambda _, inputs, __: asked.append(int(inputs[1][0])))
    model = SceneDiffusion("scenes:diffusion", network, noise=0.1, strides=2)
    model.purify(picture(1), Keys.of(0, "a"))
    assert asked == [100, 50]


def test_all_that_is_there_is_listed_with_a_line(weights: Path) -> None:
    lines = Scenes.listed(weights)
    assert sorted(lines) == sorted(ARCHITECTURES)
    assert lines["vae"] == "purifier, 0.1 M parameters; psnr_db 20.5"


def test_an_unknown_name_is_answered_with_the_nearest(weights: Path) -> None:
    with pytest.raises(UnknownName, match="unknown model 'scenes:difusion'; did you mean scenes:d"):
        Scenes(name="difusion", weights=weights).load()


def test_damaged_and_missing_weights_are_told(weights: Path) -> None:
    file = weights / "vae.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(InvalidInput, match=r"has SHA-256 .*run: secondlook train scenes:vae"):
        Scenes(name="vae", weights=weights).load()
    file.unlink()
    with pytest.raises(InvalidInput, match=r"vae.safetensors is missing"):
        Scenes(name="vae", weights=weights).load()


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ({"network": "Other"}, "written by another version"),
        ({**ARCHITECTURES["ae"], "channels": 5}, "does not fit its network"),
    ],
)
def test_weights_of_another_network_are_told(weights: Path, architecture: dict[str, Any], said: str) -> None:
    card = json.loads((weights / "ae.json").read_text())
    (weights / "ae.json").write_text(json.dumps({**card, "architecture": architecture}))
    with pytest.raises(InvalidInput, match=said):
        Scenes(name="ae", weights=weights).load()


def test_a_diffusion_may_go_back_in_several_strides_and_nothing_else_has_any(weights: Path) -> None:
    x, keys = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)), Keys.of(0, [0])
    made = [Scenes(name="diffusion", weights=weights, strides=count).load() for count in (1, 4)]
    asked = []
    for each in made:
        assert isinstance(each, SceneDiffusion)
        with counting() as ledger:
            each.with_noise(0.1).purify(x, keys)
        asked.append(ledger.spent()["forwards"])
    assert asked == [1, 4]
    with pytest.raises(InvalidInput, match="strides=4 of scenes:vae, which is no diffusion"):
        Scenes(name="vae", weights=weights, strides=4).load()
    with pytest.raises(InvalidInput, match="strides=0 never denoises"):
        Scenes(name="diffusion", weights=weights, strides=0).load()


def test_a_plain_autoencoder_keeps_more_of_a_change_than_a_tuned_one(scenes: SceneBatch) -> None:
    x, keys = pixels(scenes)[:20], Keys.of(0, range(20))
    change = corrupted(x, torch.Generator().manual_seed(0)) - x

    def kept(name: str) -> float:
        with torch.no_grad():
            clean, other = (load(name).purify(each, keys) for each in (x, x + change))
        return float((other - clean).square().mean() / change.square().mean())

    assert kept("scenes:ae-plain") > 1.5 * kept("scenes:ae")
    assert kept("scenes:vae-plain") > 1.5 * kept("scenes:vae")


SHIPPED = Scenes.listed()
EMBEDDERS = [name for name, line in SHIPPED.items() if line.startswith("embedder,")]


@pytest.fixture(scope="module")
def scenes() -> SceneBatch:
    return render_batch(0, "test", range(200))


def share_recognized(embedder: str, x: Tensor, scenes: SceneBatch) -> float:
    model = ZeroShot(load(embedder), class_names(), PROMPT)
    with torch.no_grad():
        answer = model(x).argmax(1)
    return float((answer.numpy() == scenes.labels).mean())


def pixels(scenes: SceneBatch) -> Tensor:
    return torch.from_numpy(scenes.images).permute(0, 3, 1, 2) / 255


@pytest.mark.parametrize("name", EMBEDDERS)
def test_a_shipped_embedder_recognizes_the_main_thing(name: str, scenes: SceneBatch) -> None:
    weights = files("secondlook.scenes") / "weights" / f"{name}.json"
    told = json.loads(weights.read_text())["measured"]["zero_shot_top1"]
    seen = share_recognized(f"scenes:{name}", pixels(scenes), scenes)
    assert abs(seen - told) < 0.1
    assert seen >= 0.95 or name != "clip"


@pytest.mark.parametrize("name", [name for name in SHIPPED if name.removesuffix("-plain") in PURIFIERS])
def test_a_shipped_purifier_keeps_the_main_thing(name: str, scenes: SceneBatch) -> None:
    with torch.no_grad():
        made = load(f"scenes:{name}").purify(pixels(scenes), Keys.of(0, range(200)))
    # The plain ones are trained for a few minutes.
    assert share_recognized("scenes:clip", made, scenes) >= (0.75 if name.endswith("-plain") else 0.85)
