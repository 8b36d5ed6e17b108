"""After ATAC: drifts that agree correct the vector, others leave it."""

from __future__ import annotations

import pytest
import torch

from secondlook.defenses.coupling import COUPLED, coupling
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.atac import ATAC, Drift
from secondlook.errors import InvalidInput
from tests.analytic import LinearClassifier, directions
from tests.defenses.test_time.scenes import KEYS, X, clip, fooled, passes, worked_on
from tests.tiny import eye

SMALL = ATAC(crops=1)


def weights(settings: ATAC, vectors: torch.Tensor) -> list[float]:
    found = Guarded(eye(), settings).adaptation
    assert isinstance(found, Drift)
    return found.weighed(vectors[None], KEYS[:1]).weights[0].tolist()


def test_views_that_drift_one_way_correct_and_others_do_not() -> None:
    together = torch.tensor([[1.0, 0, 0], [0.8, 0.6, 0], [0.6, 0.8, 0]])
    apart = torch.tensor([[1.0, 0, 0], [0.8, 0.6, 0], [0.8, -0.6, 0]])
    assert weights(ATAC(strength=2.0), together) == pytest.approx([-1, 1, 1])
    assert weights(ATAC(strength=2.0, agree_above=0.4), apart) == [1, 0, 0]


def test_it_stands_in_front_of_embedders_too_and_feels_no_neighbor() -> None:
    victim = Guarded(clip().embedder, SMALL)
    assert victim.decide(X[:2], KEYS[:2]).features.shape == (2, 256)
    assert float(coupling(Guarded(clip(), SMALL), X[:3], KEYS[:3], kept=1).max()) < COUPLED
    assert passes(SMALL) == (5, 0)
    assert not ATAC(crops=0).stochastic


def test_synthesis_runs_on_it() -> None:
    assert fooled(SMALL) >= 1


def test_the_gate_tells_which_images_are_worked_on() -> None:
    stopped, moved = worked_on(Guarded(clip(), ATAC(crops=1, agree_above=0.5)))
    assert stopped == moved and 0 < sum(stopped) < len(X)


def test_models_without_vectors_are_refused() -> None:
    with pytest.raises(InvalidInput, match="atac works with the vectors of an embedder"):
        Guarded(LinearClassifier(directions(3)), ATAC())
    with pytest.raises(InvalidInput, match="degrees=90"):
        ATAC(degrees=90.0)
