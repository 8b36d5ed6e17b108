"""Checkpoints of the diffusers ecosystem: tiny ones in its own format, against its own answers."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secondlook.errors import InvalidInput, UnknownName
from secondlook.models import listed, load
from secondlook.models.base import Purifier
from secondlook.randomness import Keys

diffusers = pytest.importorskip("diffusers")

TINY = {"block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1}


def kl(**changes: Any) -> Any:
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, **{**TINY, **changes}
    )


def unet(**changes: Any) -> Any:
    return diffusers.UNet2DModel(
        sample_size=16, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, **{**TINY, **changes}
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tiny random checkpoint of each kind, as ``save_pretrained`` writes it."""
    folder = tmp_path_factory.mktemp("checkpoints")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kl().save_pretrained(folder / "kl")
        diffusers.AutoencoderTiny(
            encoder_block_out_channels=(8, 8, 8),
            decoder_block_out_channels=(8, 8, 8),
            num_encoder_blocks=(1, 1, 1),
            num_decoder_blocks=(1, 1, 1),
        ).save_pretrained(folder / "tiny")
        schedule = diffusers.DDPMScheduler()
        pipeline = diffusers.DDPMPipeline(unet=unet(), scheduler=schedule)
        pipeline.save_pretrained(folder / "ddpm")
        kl(in_channels=1, out_channels=1).save_pretrained(folder / "gray")
        schedule.save_pretrained(folder / "schedule")
        unet().save_pretrained(folder / "bare")
    return folder


def keys(n: int) -> Keys:
    return Keys.of(0, range(n))


def picture(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["kl", "tiny", "ddpm"])
@pytest.mark.parametrize("size", [(16, 16), (13, 18), (1, 1)])
def test_any_size_comes_back_as_it_was(made: Path, kind: str, size: tuple[int, int]) -> None:
    model = load(f"diffusers:{made / kind}")
    assert isinstance(model, Purifier)
    out = model.purify(picture(2, 3, *size), keys(2))
    assert out.shape == (2, 3, *size)
    assert not any(p.requires_grad for part in model.modules for p in part.parameters())


@pytest.mark.parametrize("kind", ["kl", "tiny", "ddpm"])
def test_gradients_are_the_slopes(made: Path, kind: str) -> None:
    model = load(f"diffusers:{made / kind}")
    x = (0.3 + 0.4 * picture(1, 3, 16, 16)).requires_grad_(True)
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))

    def score(v: Tensor) -> Tensor:
        return (model.reconstruct(v, keys(1)) * weight).sum()

    (grad,) = torch.autograd.grad(score(x), x)
    step = 0.01 * grad / grad.norm()
    with torch.no_grad():
        slope = (score(x + step) - score(x - step)) / 0.02
    assert float(slope) == pytest.approx(float(grad.norm()), rel=0.05)


@pytest.mark.parametrize(("kind", "noises"), [("kl", (0, 1, 9)), ("tiny", (0, 0.2, 2))])
def test_the_autoencoders_answers_are_the_librarys_own(made: Path, kind: str, noises: tuple[float, ...]) -> None:
    model, x = load(f"diffusers:{made / kind}"), picture(2, 3, 16, 16)
    cls = diffusers.AutoencoderKL if kind == "kl" else diffusers.AutoencoderTiny
    network = cls.from_pretrained(made / kind).eval()
    with torch.no_grad():
        code = network.encode(2 * x - 1)
        code = code.latent_dist.mode() if kind == "kl" else code.latents
        expected = ((network.decode(code).sample + 1) / 2).clamp(0, 1)
        made_at = [model.with_noise(noise).purify(x, keys(2)) for noise in noises]
    assert torch.allclose(made_at[0], expected, atol=1e-5)
    moved = [float((out - expected).abs().mean()) for out in made_at]
    assert moved == sorted(moved)
    assert model.stochastic == (kind == "kl")


def test_a_stride_is_the_librarys_own_step(made: Path) -> None:
    model, x = load(f"diffusers:{made / 'ddpm'}"), picture(2, 3, 16, 16)
    scheduler = diffusers.DDPMScheduler()
    scheduler.set_timesteps(timesteps=[120, 90, 60, 30])
    fresh = torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        guess = model.network(x, torch.tensor([90, 90])).sample
        generator = torch.Generator().manual_seed(5)
        expected = scheduler.step(guess, 90, x, generator=generator).prev_sample
        assert torch.allclose(model._stride(x, 90, 60, fresh), expected, atol=1e-5)


def test_more_steps_of_diffusion_move_pixels_further(made: Path) -> None:
    model, x = load(f"diffusers:{made / 'ddpm'}"), picture(2, 3, 16, 16)
    with torch.no_grad():
        moved = [float((model.with_noise(n).purify(x, keys(2)) - x).abs().mean()) for n in (0.02, 0.5)]
    assert moved[0] < moved[1]


@pytest.mark.parametrize("kind", ["kl", "ddpm"])
def test_draws_belong_to_the_key(made: Path, kind: str) -> None:
    model, x = load(f"diffusers:{made / kind}"), picture(3, 3, 16, 16)
    with torch.no_grad():
        whole = model.purify(x, keys(3))
        alone = model.purify(x[2:], keys(3)[2:])
        other = model.purify(x, keys(3).fold("again"))
    assert torch.allclose(alone, whole[2:], atol=1e-5)
    assert float((other - whole).abs().max()) > 1e-3


def test_a_network_and_its_schedule_may_lie_side_by_side(made: Path, tmp_path: Path) -> None:
    flat = shutil.copytree(made / "bare", tmp_path / "flat")
    with pytest.raises(InvalidInput, match="no scheduler/scheduler_config.json nor scheduler_con"):
        load(f"diffusers:{flat}")
    shutil.copy(made / "schedule/scheduler_config.json", flat)
    assert load(f"diffusers:{flat}").times[0] == 100


def test_a_pipeline_without_unconditional_network_gives_its_autoencoder(made: Path, tmp_path: Path) -> None:
    index = '{"_class_name": "P", "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["", ""]}'
    (tmp_path / "model_index.json").write_text(index)
    shutil.copytree(made / "kl", tmp_path / "vae")
    assert load(f"diffusers:{tmp_path}").hash == load(f"diffusers:{made / 'kl'}").hash


def test_what_cannot_be_used_is_told(made: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no folder /nowhere"):
        load("diffusers:/nowhere")
    with pytest.raises(InvalidInput, match=r"no config.json nor model_index.json"):
        load(f"diffusers:{tmp_path}")
    with pytest.raises(InvalidInput, match="sees 1 channels, not RGB"):
        load(f"diffusers:{made / 'gray'}")
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKLX"}')
    with pytest.raises(UnknownName, match="did you mean AutoencoderKL"):
        load(f"diffusers:{tmp_path}")


def test_other_predictions_and_conditions_are_told(made: Path, tmp_path: Path) -> None:
    v = shutil.copytree(made / "ddpm", tmp_path / "v")
    diffusers.DDPMScheduler(prediction_type="v_prediction").save_pretrained(v / "scheduler")
    with pytest.raises(InvalidInput, match="predicts v_prediction"):
        load(f"diffusers:{v}")
    unet(num_class_embeds=3).save_pretrained(v / "unet")
    diffusers.DDPMScheduler().save_pretrained(v / "scheduler")
    with pytest.raises(InvalidInput, match="wants a class beside the image"):
        load(f"diffusers:{v}")


def test_missing_weights_are_named(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made / "tiny", tmp_path / "tiny")
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(InvalidInput, match=r"tiny/diffusion_pytorch_model.safetensors cannot be"):
        load(f"diffusers:{folder}")


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch, made: Path) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(InvalidInput, match=r'pip install "secondlook\[diffusion\]"'):
        load(f"diffusers:{made / 'kl'}")


def test_without_a_network_the_error_says_what_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    said = "config.json of somebody/something is not on this machine.*write diffusers:FOLDER"
    with pytest.raises(InvalidInput, match=said):
        load("diffusers:somebody/something")


def test_a_copy_in_the_cache_needs_no_network(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    place, commit = tmp_path / "models--somebody--something", "0123" * 10
    shutil.copytree(made / "ddpm", place / f"snapshots/{commit}")
    (place / "refs").mkdir()
    (place / "refs/main").write_text(commit)
    model = load("diffusers:somebody/something")
    assert model.hash == load(f"diffusers:{made / 'ddpm'}").hash


def test_nothing_is_listed() -> None:
    assert listed("diffusers") == {}
