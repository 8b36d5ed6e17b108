"""An embedder behind a defence: what it sees, and what an attacker of it climbs."""

import pytest
import torch
from torch.nn import functional as F

from secondlook.audit.retrieval.seen import Seen, Sight, Through
from secondlook.defenses.baselines import Jpeg
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.undefended import Undefended
from secondlook.models.jpeg import JpegPurifier
from secondlook.randomness import Keys
from tests import tiny
from tests.audit.retrieval import dials
from tests.audit.retrieval.conftest import Run

KEYS = Keys.of(0, range(6))


def images() -> torch.Tensor:
    return dials.Colours(6).read(range(6), None).images


def test_nothing_before_the_embedder() -> None:
    model = dials.dial()
    seen = Seen(model, Undefended(model=Sight(model)))
    assert seen.victim() is model
    assert torch.allclose(seen.look(images(), KEYS), model.embed(images()), atol=1e-6)


def test_a_jpeg_before_it_and_a_gradient_past_it() -> None:
    model = dials.dial()
    seen = Seen(model, Jpeg(model=Sight(model), quality=30))
    shown = JpegPurifier(30).purify(images(), KEYS)
    assert torch.allclose(seen.look(images(), KEYS), model.embed(shown), atol=1e-6)
    x = images().requires_grad_()
    victim = seen.victim()
    (gradient,) = torch.autograd.grad(victim.embed(x).sum(), x)
    assert gradient.abs().amax() > 0
    assert torch.equal(victim.embed_text(["red 1 green 2 blue 3"]),
                       model.embed_text(["red 1 green 2 blue 3"]))  # fmt: skip


def test_the_mean_of_many_looks() -> None:
    model = dials.dial()
    defence = Consensus(model=Sight(model), purifier=tiny.shift(), samples=7)
    looks = [model.embed(defence.eye.purify(images(), KEYS.repeat(7)[at::7])) for at in range(7)]
    expected = F.normalize(torch.stack(looks).mean(0), dim=-1)
    assert torch.allclose(Seen(model, defence).look(images(), KEYS), expected, atol=1e-6)


def test_an_attackers_draws_do_not_depend_on_the_batch() -> None:
    model = dials.dial()
    defence = Consensus(model=Sight(model), purifier=tiny.shift(), samples=7)
    victim = Seen(model, defence).victim(draws=3)
    assert isinstance(victim, Through)
    first, second = victim.embed(images()), victim.embed(images())
    assert not torch.allclose(first, second, atol=1e-4)
    victim.begin()
    alone = torch.cat([_fresh(victim).embed(images()[row : row + 1]) for row in range(6)])
    assert torch.allclose(alone, first, atol=1e-6)


def _fresh(victim: Through) -> Through:
    victim.begin()
    return victim


@pytest.mark.parametrize("draws", [1, 4])
def test_a_defended_row_and_its_adaptive_one(audited: Run, draws: int) -> None:
    """JPEG of one colour changes it little: whoever attacks through it comes as far."""
    _, audit = audited(
        defences=[{"name": "undefended"}, {"name": "jpeg", "quality": 60}],
        knowledge=["clean", "oblivious", "adaptive"], adaptive={"draws": draws},
        task={"name": "retrieval", "data": "dials:10", "samples": 0, "attacked": ["both"]},
    )  # fmt: skip
    kinds = [(cell.defence, cell.knowledge) for cell in audit.cells]
    assert kinds == [
        ("undefended", "clean"), ("undefended", "adaptive"),
        ("jpeg", "clean"), ("jpeg", "oblivious"), ("jpeg", "adaptive"),
    ]  # fmt: skip
    assert audit.cells[-1].ledger.forwards == 2 * 10
    assert audit.cells[-1].settings["attack"]["draws"] == draws
