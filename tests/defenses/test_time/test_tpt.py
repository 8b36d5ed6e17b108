"""TPT: the entropy that its prompt descends, and the view that it answers for."""

from __future__ import annotations

import pytest
import torch

from secondlook.defenses.coupling import COUPLED, coupling
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.tpt import TPT, SharedEntropy
from secondlook.errors import InvalidInput
from tests.closeness import same
from tests.defenses.test_time.scenes import KEYS, X, clip, fooled, passes
from tests.tiny import eye

SMALL = TPT(crops=4, share=0.4)


def tuning() -> SharedEntropy:
    found = Guarded(clip(), SMALL).adaptation
    assert isinstance(found, SharedEntropy)
    return found


def test_the_entropy_is_that_of_the_mean_distribution() -> None:
    """Two views that are each sure of another class are in doubt together."""
    logits = torch.tensor([[[50.0, 0.0], [0.0, 50.0]], [[50.0, 0.0], [50.0, 0.0]]])
    assert tuning().doubt(logits).tolist() == pytest.approx([0.693147, 0.0], abs=1e-5)


def test_without_a_rate_it_is_the_model_with_the_prompt_as_written() -> None:
    still = Guarded(clip(), TPT(crops=4, share=0.4, rate=0.0)).decide(X[:3], KEYS[:3]).scores
    assert same(still, clip()(X[:3]))
    tuned = Guarded(clip(), SMALL).decide(X[:3], KEYS[:3]).scores
    assert not torch.allclose(tuned, still, atol=1e-4)


def test_it_feels_no_neighbor_and_runs_under_attack() -> None:
    assert passes(SMALL) == (5, 0)
    assert float(coupling(Guarded(clip(), SMALL), X[:3], KEYS[:3], kept=1).max()) < COUPLED
    assert fooled(SMALL, count=2) >= 1


def test_a_descent_makes_the_clearest_views_surer_together() -> None:
    adapted = tuning()
    vectors = clip().embedder.embed(adapted.views(X, KEYS).flatten(0, 1)).unflatten(0, (len(X), -1)).detach()
    with torch.no_grad():
        start = adapted.prompt.start.expand(len(X), -1, -1)
        before, after = (
            adapted.doubt(vectors @ adapted.prompt.vectors(at).mT / 0.01) for at in (start, adapted.tuned(vectors))
        )
    assert float(after.mean()) < float(before.mean())


def test_models_without_classes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="tpt works with the vectors of classes"):
        Guarded(eye(), TPT())
