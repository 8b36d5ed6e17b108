"""Stable Diffusion: a tiny pipeline in its own format, as a painter and as a purifier."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secondlook.errors import InvalidInput, UnknownName
from secondlook.ledger import counting
from secondlook.models import load
from secondlook.models.base import Purifier
from secondlook.models.painter import Painter
from secondlook.randomness import Keys
from tests.models import hub_models

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

TEXTS = ["a red cat", "two blue dog", "a small photo"]


def _clip() -> Any:
    return transformers.CLIPTextConfig(**{**hub_models.TEXT, "max_position_embeddings": 16, "projection_dim": 16})


def _parts(**unet: Any) -> dict[str, Any]:
    blocks = {"block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1}
    return {
        "vae": diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            **blocks,
        ),
        "unet": diffusers.UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            attention_head_dim=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=16,
            **blocks,
            **unet,
        ),
        "tokenizer": hub_models.tokenizer(model_max_length=16),
    }


def _sd(scheduler: Any) -> Any:
    return diffusers.StableDiffusionPipeline(
        **_parts(),
        text_encoder=transformers.CLIPTextModel(_clip()),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _xl() -> Any:
    parts = _parts(
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=16 + 6 * 4,
        transformer_layers_per_block=1,
    )
    return diffusers.StableDiffusionXLPipeline(
        **parts,
        tokenizer_2=parts["tokenizer"],
        text_encoder=None,
        text_encoder_2=transformers.CLIPTextModelWithProjection(_clip()),
        scheduler=diffusers.EulerDiscreteScheduler(),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipelines")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline = _sd(diffusers.PNDMScheduler(skip_prk_steps=True, steps_offset=1))
        pipeline.save_pretrained(folder / "sd")
        ancestral = diffusers.EulerAncestralDiscreteScheduler(steps_offset=1)
        parts = {**pipeline.components, "scheduler": ancestral}
        diffusers.StableDiffusionPipeline(**parts, requires_safety_checker=False).save_pretrained(folder / "ancestral")
        _xl().save_pretrained(folder / "xl")
    return folder


def painter(folder: Path) -> Any:
    return load(f"diffusers:{folder}?role=painter")


def sdedit(folder: Path) -> Any:
    return load(f"diffusers:{folder}?role=img2img")


def keys(n: int) -> Keys:
    return Keys.of(0, range(n))


def picture(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["sd", "ancestral", "xl"])
def test_a_picture_belongs_to_its_text_and_key(made: Path, kind: str) -> None:
    model = painter(made / kind)
    assert isinstance(model, Painter)
    before = torch.get_rng_state()
    together = model.paint(TEXTS, keys(3), steps=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert together.shape == (3, 3, *model.size) == (3, 3, 16, 16)
    assert 0 <= float(together.min()) < float(together.max()) <= 1
    alone = model.paint(TEXTS[2:], keys(3)[2:], steps=3)
    assert torch.allclose(alone, together[2:], atol=1e-4)
    for other in (
        model.paint(TEXTS, keys(3).fold("again"), steps=3),
        model.paint(TEXTS[::-1], keys(3), steps=3, guidance=30),
    ):
        assert float((other - together)[0].abs().max()) > 1e-3


def test_pictures_are_the_pipelines_own(made: Path) -> None:
    model = painter(made / "sd")
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(made / "sd", safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    latents = keys(3).fold("latents").normal((4, 8, 8))
    for guidance in (1.0, 7.5):
        expected = pipeline(
            TEXTS, num_inference_steps=4, guidance_scale=guidance, latents=latents, output_type="pt"
        ).images
        with counting() as ledger:
            found = model.paint(TEXTS, keys(3), steps=4, guidance=guidance)
        assert torch.allclose(found, expected, atol=1e-5)
        # PNDM asks once more than it has steps.
        assert ledger.forwards == 3 * 5 * (2 if guidance > 1 else 1)


@pytest.mark.parametrize("size", [(16, 16), (13, 18), (1, 1)])
def test_any_size_comes_back_as_it_was(made: Path, size: tuple[int, int]) -> None:
    model = sdedit(made / "sd")
    assert isinstance(model, Purifier)
    with torch.no_grad():
        assert model.purify(picture(2, 3, *size), keys(2)).shape == (2, 3, *size)
    assert not any(p.requires_grad for part in model.modules for p in part.parameters())


def test_purifying_is_differentiable(made: Path) -> None:
    model = sdedit(made / "sd")
    x = (0.3 + 0.4 * picture(1, 3, 13, 18)).requires_grad_(True)
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))

    def score(v: Tensor) -> Tensor:
        return (model.reconstruct(v, keys(1)) * weight).sum()

    (gradient,) = torch.autograd.grad(score(x), x)
    step = 0.01 * gradient / gradient.norm()
    with torch.no_grad():
        slope = (score(x + step) - score(x - step)) / 0.02
    assert float(slope) == pytest.approx(float(gradient.norm()), rel=0.05)


def test_draws_belong_to_the_key(made: Path) -> None:
    model, x = sdedit(made / "sd"), picture(3, 3, 16, 16)
    with torch.no_grad(), counting() as ledger:
        whole = model.purify(x, keys(3))
        assert ledger.forwards == 3 * model.strides
        assert torch.allclose(model.purify(x[2:], keys(3)[2:]), whole[2:], atol=1e-5)
        assert float((model.purify(x, keys(3).fold("again")) - whole).abs().max()) > 1e-3


def test_both_predictions_are_the_librarys_own(made: Path, tmp_path: Path) -> None:
    z, t = (torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(4)), torch.tensor([90, 90]))
    for kind in ("epsilon", "v_prediction"):
        folder = shutil.copytree(made / "sd", tmp_path / kind)
        diffusers.PNDMScheduler(
            skip_prk_steps=True, steps_offset=1, prediction_type=kind, beta_schedule="scaled_linear"
        ).save_pretrained(folder / "scheduler")
        model = sdedit(folder)
        scheduler = diffusers.DDIMScheduler(prediction_type=kind, beta_schedule="scaled_linear", clip_sample=False)
        scheduler.set_timesteps(10)
        told = model.empty_prompt.expand(2, -1, -1)
        with torch.no_grad():
            answer = model.unet(z, t, encoder_hidden_states=told).sample
            expected = scheduler.step(answer, 90, z).pred_original_sample
            assert torch.allclose(model._clean(z, 90), expected, atol=1e-4)


def test_hardly_any_noise_is_a_way_through_the_autoencoder(made: Path) -> None:
    x = picture(2, 3, 16, 16)
    with torch.no_grad():
        model = sdedit(made / "sd").with_noise(0.0005)
        plain = load(f"diffusers:{made / 'sd'}").with_noise(0.0).purify(x, keys(2))
        near = float((model.purify(x, keys(2)) - plain).abs().mean())
        far = float((model.with_noise(0.9).purify(x, keys(2)) - plain).abs().mean())
    assert near < far / 3


def test_without_a_role_it_is_the_autoencoder(made: Path) -> None:
    model = load(f"diffusers:{made / 'sd'}")
    assert type(model).__name__ == "KlPurifier"


def test_the_safety_checker_is_left_out(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made / "sd", tmp_path / "checked")
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (folder / "model_index.json").write_text(json.dumps(index))
    assert painter(folder).pipeline.safety_checker is None


def test_what_cannot_be_used_is_told(made: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="role='paint'"):
        load(f"diffusers:{made / 'sd'}?role=paint")
    with pytest.raises(UnknownName, match="role=img2img: 'StableDiffusionXLPipeline'"):
        sdedit(made / "xl")
    (tmp_path / "model_index.json").write_text('{"_class_name": "DDPMPipeline"}')
    with pytest.raises(UnknownName, match="role=painter: 'DDPMPipeline'"):
        painter(tmp_path)


@pytest.mark.parametrize(
    ("texts", "how", "said"),
    [
        ("a cat", {}, "a list of texts"),
        ([], {}, "a list of texts"),
        (["a", " "], {}, "none of"),
        (["a"], {}, "need as many keys, not 2"),
        (["a", "b"], {"steps": 0}, "steps=0 must be 1"),
        (["a", "b"], {"guidance": -1.0}, "guidance=-1 0 or more"),
    ],
)
def test_what_cannot_be_painted_is_told(made: Path, texts: Any, how: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        painter(made / "sd").paint(texts, keys(2), **how)
