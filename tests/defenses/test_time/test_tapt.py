"""TAPT: what its step descends, what is left without tuning, and which towers it can tune."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.defenses.coupling import COUPLED, coupling
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.image_tokens import OpenTower
from secondlook.defenses.test_time.learned import learned
from secondlook.defenses.test_time.tapt import TAPT, AlignedPrompts, Prompts, distance, statistics
from secondlook.defenses.test_time.tpt import TPT
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Embedder
from tests.closeness import same
from tests.defenses.test_time.scenes import KEYS, X, clip
from tests.models import hub_models
from tests.tiny import eye

SMALL = TAPT(crops=4, share=0.4)
VIT = "scenes:clip-vit"


@cache
def prompts() -> Prompts:
    state = learned("prompts", clip(VIT).embedder).state
    made = Prompts(state["context"], state["tokens"])
    made.load_state_dict(state)
    return made


def guarded(settings: TAPT = SMALL) -> Guarded:
    return Guarded(clip(VIT), settings)


def tuning(settings: TAPT = SMALL, start: Prompts | None = None) -> AlignedPrompts:
    return AlignedPrompts(clip(VIT), settings, start or prompts(), "prompts")


def written() -> Prompts:
    """The words of the template, and no further tokens."""
    start = tuning().prompt.start
    return Prompts(start, prompts().tokens[:, :0])


def test_statistics_are_of_channels_over_images_and_tokens_and_their_distance_is_l1() -> None:
    layer = torch.tensor([[[1.0, 0.0], [3.0, 0.0]], [[5.0, 2.0], [7.0, 2.0]]])
    found = statistics([layer, layer + 1])
    assert found.tolist() == [[[4.0, 1.0], [5.0, 1.0]], [[5.0, 2.0], [5.0, 1.0]]]
    # Of two channels' means and variances (1 + 0 + 2 + 0) / 4, and so much again in the other layer.
    assert float(distance(found, found + torch.tensor([[1.0, 0.0], [2.0, 0.0]]))) == pytest.approx(1.5)


def test_without_weight_and_trained_prompts_it_is_tpt() -> None:
    plain = tuning(replace(SMALL, weight=0.0, rate=5e-3), written())
    tpt = Guarded(clip(VIT), TPT(crops=4, share=0.4)).adaptation
    assert tpt is not None
    ours, theirs = (each.answer(X[:3], KEYS[:3], "full").scores for each in (plain, tpt))
    assert same(ours.detach(), theirs.detach())
    assert not torch.allclose(ours, clip(VIT)(X[:3]), atol=1e-4)


def test_without_a_rate_it_is_the_model_under_the_trained_prompts() -> None:
    still = guarded(replace(SMALL, rate=0.0)).decide(X, KEYS).scores
    adapted = tuning()
    with torch.no_grad(), adapted.tower.shown(prompts().tokens[None]):
        vectors = clip(VIT).embedder.embed(X)
    assert same(still, vectors @ adapted.prompt.vectors(prompts().context[None])[0].T.detach())
    assert not torch.allclose(still, clip(VIT)(X), atol=1e-3)
    assert not torch.allclose(still, guarded().decide(X, KEYS).scores, atol=1e-5)
    assert guarded().stochastic and not guarded(replace(SMALL, rate=0.0)).stochastic


def test_the_step_is_the_rate_times_sign_and_decay_and_each_image_begins_anew() -> None:
    adapted = tuning()
    with torch.no_grad():
        found, again = (adapted.tuned(X[rows], KEYS[rows]) for rows in (slice(0, 2), slice(1, 2)))
    for start, after in zip((prompts().context, prompts().tokens), found, strict=True):
        moved = (after - start.detach() * (1 - 5e-4 * 0.01)).abs()
        assert float(moved.max()) == pytest.approx(5e-4, rel=1e-3) and float(moved.median()) > 4e-4
    # Signs of slopes that are nearly zero are the kernels' to choose.
    agree = [(one[1:] - other).abs() < 1e-6 for one, other in zip(found, again, strict=True)]
    assert all(float(each.float().mean()) > 0.98 for each in agree)
    assert float(coupling(guarded(), X[:3], KEYS[:3], kept=1).max()) < COUPLED


def test_the_step_brings_the_layers_nearer_to_what_is_stored() -> None:
    """Half of it to attacked images' and half to clean ones', or all to one of them."""
    for share in (0.0, 1.0):
        adapted = tuning(replace(SMALL, attacked=share, weight=1000.0))
        wanted = prompts().attacked if share else prompts().clean
        before, after = (
            [distance(layers, wanted) for layers in _layers(adapted, tokens)]
            for tokens in (prompts().tokens.expand(4, -1, -1, -1), adapted.tuned(X[:4], KEYS[:4]).tokens)
        )
        assert sum(b > a for b, a in zip(before, after, strict=True)) >= 3


def _layers(adapted: AlignedPrompts, tokens: Tensor) -> list[Tensor]:
    found = []
    for image, own in zip(X[:4].split(1), tokens.split(1), strict=True):
        with torch.no_grad(), adapted.tower.shown(own) as seen:
            clip(VIT).embedder.embed(image)
        found.append(statistics(seen))
    return found


def test_its_gradient_is_that_of_the_towers_behind_the_tuned_prompts() -> None:
    victim, x = guarded(), X[:2].clone().requires_grad_()
    scores = [victim.surrogate(x, KEYS[:2], gradient=manner).scores[:, 0, 0].sum() for manner in ("full", "bpda")]
    full, past = (torch.autograd.grad(each, x)[0] for each in scores)
    assert same(full, past) and bool((full.flatten(1).norm(dim=1) > 0).all())


def test_a_vision_transformer_of_the_hub_can_be_shown_tokens(tmp_path: Path) -> None:
    model = load(f"hf:{hub_models.save(tmp_path, 'clip')}")
    assert isinstance(model, Embedder)
    tower, x = OpenTower(model, 9, "tapt"), F.interpolate(X[:4], (32, 32))
    assert (tower.depth, tower.width) == (2, 16)
    with torch.no_grad(), tower.shown(torch.zeros(2, 2, 0, 16)) as seen:
        none = model.embed(x)
    assert same(none, model.embed(x)) and [layer.shape for layer in seen] == [(4, tower.length, 16)] * 2
    own = torch.stack([torch.zeros(2, 3, 16), torch.ones(2, 3, 16)])
    with torch.no_grad(), tower.shown(own):
        two = model.embed(x)
    with torch.no_grad(), tower.shown(own[1:]):
        one = model.embed(x[2:])
    assert same(two[2:], one) and not torch.allclose(two, none, atol=1e-4)


def test_what_cannot_be_tuned_or_was_trained_for_others_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="that of scenes:clip takes none"):
        Guarded(clip(), SMALL)
    with pytest.raises(InvalidInput, match="tapt works with the vectors of classes"):
        Guarded(eye(), SMALL)
    with pytest.raises(InvalidInput, match="write the prompt that they were trained in"):
        guarded(replace(SMALL, prompt="{}".join(["one "] * 2)))
    with pytest.raises(InvalidInput, match="there is no .*nowhere.json; run: secondlook train prompts:scenes:clip-vit"):
        guarded(replace(SMALL, prompts=str(tmp_path / "nowhere")))
