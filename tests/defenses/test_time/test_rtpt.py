"""R-TPT: the step of the prompt, the weights of the views, and what is left behind: nothing."""

from __future__ import annotations

import pytest
import torch

from secondlook.defenses.coupling import COUPLED, coupling
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.dbd import entropy
from secondlook.defenses.test_time.rtpt import RTPT, ReliableViews, reliability
from secondlook.errors import InvalidInput
from tests.closeness import same
from tests.defenses.test_time.scenes import KEYS, X, clip, fooled, gradients, passes
from tests.tiny import eye

SMALL = RTPT(crops=5, neighbors=2, share=0.4)


def tuning(settings: RTPT = SMALL) -> ReliableViews:
    found = Guarded(clip(), settings).adaptation
    assert isinstance(found, ReliableViews)
    return found


def test_a_hundredth_of_a_cosine_is_a_factor_of_e() -> None:
    angles = torch.tensor([0.91, 0.91, 0.90]).acos()
    # The second and the third view lie on two arcs from the first.
    first, second, third = torch.tensor([1.0, 0, 0]), torch.zeros(3), torch.zeros(3)
    second[0], second[1] = angles[0].cos(), angles[0].sin()
    third[0], third[2] = angles[2].cos(), angles[2].sin()
    found = reliability(torch.stack([first, second, third])[None], 1)
    assert found[0].tolist() == pytest.approx([0.91, 0.91, 0.90], abs=1e-6)
    weights = (found / 0.01).softmax(1)[0]
    assert float(weights[0] / weights[2]) == pytest.approx(2.71828, rel=1e-3)


def test_views_that_are_alike_count_alike_and_the_published_self_is_rounding() -> None:
    vectors = clip().embedder.embed(X[:1]).expand(6, -1)[None]
    assert tuning().shares(vectors)[0].tolist() == pytest.approx([1 / 6] * 6, rel=1e-4)
    short = torch.tensor([[[0.99999, 0.0], [0.0, 1.0], [1.0, 0.0]]])
    assert reliability(short, 1)[0].tolist() == pytest.approx([0.99999, 0.0, 0.99999])
    assert reliability(short, 1, legacy_self=True)[0].tolist() == pytest.approx([0.99999, 0.0, 0.99999], abs=2e-5)
    assert float(reliability(short * 0.999, 1, legacy_self=True)[0, 1]) == pytest.approx(0.998, abs=1e-3)


def test_the_prompt_moves_by_the_rate_times_sign_and_decay() -> None:
    adapted = tuning()
    vectors = clip().embedder.embed(adapted.views(X[:2], KEYS[:2]).flatten(0, 1)).unflatten(0, (2, -1)).detach()
    found = adapted.tuned(vectors)
    start = adapted.prompt.start
    for image in range(2):
        context = start[None].clone().requires_grad_()
        logits = vectors[image] @ adapted.prompt.vectors(context)[0].T / 0.01
        doubts = entropy(logits)
        kept = doubts.topk(2, largest=False).values
        (slope,) = torch.autograd.grad(kept.mean(), context)
        sure = slope[0].abs() > 1e-3 * slope.abs().max()
        wanted = start - 5e-3 * (slope[0].sign() + 0.01 * start)
        assert torch.allclose(found[image][sure], wanted[sure], atol=1e-6) and float(sure.float().mean()) > 0.9


def test_the_answer_is_the_weighted_sum_of_the_views_scores() -> None:
    adapted, victim = tuning(), Guarded(clip(), SMALL)
    views = adapted.views(X[:2], KEYS[:2].repeat(1).fold("adapt"))
    vectors = clip().embedder.embed(views.flatten(0, 1)).unflatten(0, (2, -1)).detach()
    classes = adapted.prompt.vectors(adapted.tuned(vectors)).detach()
    wanted = (adapted.shares(vectors)[..., None] * (vectors @ classes.mT)).sum(1)
    assert torch.allclose(victim.decide(X[:2], KEYS[:2]).scores, wanted, atol=1e-5)
    still = Guarded(clip(), RTPT(crops=5, neighbors=2, share=0.4, rate=0.0)).decide(X[:2], KEYS[:2]).scores
    assert not torch.allclose(still, wanted, atol=1e-5)


def test_each_image_begins_with_the_written_prompt() -> None:
    victim = Guarded(clip(), SMALL)
    first = victim.decide(X[2:3], KEYS[2:3]).scores
    victim.decide(X, KEYS)
    assert same(victim.decide(X[2:3], KEYS[2:3]).scores, first)
    assert float(coupling(victim, X[:3], KEYS[:3], kept=1).max()) < COUPLED


def test_it_runs_under_attack_and_its_weights_have_a_gradient() -> None:
    full, past = gradients(SMALL)
    assert float((full - past).norm() / past.norm()) > 1e-3
    assert fooled(SMALL, count=2) >= 1
    assert passes(SMALL) == (6, 0)


def test_too_few_views_and_models_without_classes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="crops=5 for neighbors=20"):
        RTPT(crops=5)
    with pytest.raises(InvalidInput, match="share=0.01 of 64 views is none"):
        RTPT(share=0.01)
    with pytest.raises(InvalidInput, match="rtpt works with the vectors of classes"):
        Guarded(eye(), RTPT())
