"""MIM adds up normalised gradients and forgets none."""

import pytest
import torch

from secondlook.attacks.mim import MIM
from secondlook.attacks.pgd import PGD
from secondlook.ledger import counting
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.analytic import Bowl, Slope, directions, images

KEYS = Keys.of(0, range(6))
THREAT = Threat(eps=10 / 255)


def test_ten_equal_steps_reach_the_corner() -> None:
    weights = directions(6)
    with counting() as ledger:
        found = MIM()(Slope(weights=weights), images(6), THREAT, KEYS)
    assert torch.allclose(found.x, images(6) + THREAT.eps * weights.sign(), atol=1e-6)
    assert (ledger.forwards, ledger.backwards) == (60, 60)
    assert MIM().length(9, THREAT) == pytest.approx(1 / 255)


def test_it_is_pgd_with_full_momentum() -> None:
    """Around a peak the momentum carries it past, so that the last iterate tells one from none."""
    clean = images(6)
    bowl = Bowl(centre=clean + 3.3 / 255)
    plain = {"steps": 10, "step": 1 / 255, "random_start": False, "keep_best": False}
    as_pgd = {m: PGD(momentum=m, **plain)(bowl, clean, THREAT, KEYS).x for m in (0.0, 1.0)}  # type: ignore[arg-type]
    found = MIM()(bowl, clean, THREAT, KEYS).x
    assert torch.equal(found, as_pgd[1.0])
    assert not torch.equal(found, as_pgd[0.0])
