"""Prompts are tuned where the text tower is open, and the tower is left as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.prompts import OpenPrompt, template_of
from secondlook.defenses.test_time.rtpt import RTPT
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.models.zeroshot import ZeroShot
from tests.closeness import same
from tests.defenses.test_time.scenes import CLASSES, KEYS, X, clip
from tests.models import hub_models
from tests.tiny import COLORS, eye


def opened(embedder: Embedder, classes: tuple[str, ...], template: str) -> OpenPrompt:
    return OpenPrompt(embedder, classes, template, "rtpt")


def test_the_written_context_gives_the_classes_own_vectors_whatever_the_batch() -> None:
    prompt = opened(clip().embedder, CLASSES, "a picture of a {}")
    assert prompt.start.shape[0] == 4 and prompt.first == 1
    with torch.no_grad():
        both = prompt.vectors(torch.stack([prompt.start, -prompt.start]))
        assert same(both[0], clip().texts) and not same(both[1], clip().texts)
        assert torch.allclose(both[1], prompt.vectors(-prompt.start[None])[0], atol=1e-5)


def test_a_clip_of_the_hub_is_open(tmp_path: Path) -> None:
    model = load(f"hf:{hub_models.save(tmp_path, 'clip')}")
    assert isinstance(model, Embedder)
    prompt = opened(model, ("cat", "small dog"), "a photo of the {}")
    context = prompt.start[None].clone().requires_grad_()
    found = prompt.vectors(context)
    assert prompt.start.shape[0] == 4
    assert same(found[0].detach(), model.embed_text(["a photo of the cat", "a photo of the small dog"]))
    (slope,) = torch.autograd.grad(found[0, 0, 0], context)
    assert bool((slope.norm(dim=-1) > 0).all())
    guarded = Guarded(ZeroShot(model, ("cat", "small dog")), RTPT(crops=3, neighbors=2, share=0.5))
    x = F.interpolate(X[:2], (32, 32))
    assert guarded.decide(x, KEYS[:2]).scores.shape == (2, 2)


def test_the_template_is_the_settings_the_models_or_the_embedders() -> None:
    assert template_of(clip(), "") == "a picture of a {}"
    assert template_of(clip(), "one {}") == "one {}"
    bare = ZeroShot(clip().embedder, CLASSES)
    assert template_of(bare, "") == clip().embedder.prompt
    with pytest.raises(InvalidInput, match="prompt='a scene' has no {}"):
        template_of(clip(), "a scene")


def test_closed_towers_and_prompts_without_a_context_are_refused() -> None:
    with pytest.raises(InvalidInput, match="rtpt tunes the prompt, and the text tower of tiny:eye is not open"):
        opened(eye(), COLORS, "a photo of a {}")
    with pytest.raises(InvalidInput, match="nothing before the class"):
        opened(clip().embedder, CLASSES, "{} in a picture")
