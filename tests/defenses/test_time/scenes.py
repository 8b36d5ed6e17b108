"""Some scenes and a zero-shot classifier of them, for the tests of test-time defenses."""

from __future__ import annotations

from functools import cache

from torch import Tensor

from secondlook.attacks.base import differentiate
from secondlook.attacks.synthesis import Synthesis
from secondlook.data import load as load_data
from secondlook.defenses.base import Defense
from secondlook.defenses.guarded import Guarded
from secondlook.ledger import counting
from secondlook.models import load
from secondlook.models.zeroshot import ZeroShot
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from secondlook.threat import Threat

COUNT = 8
X = load_data("scenes:test").read(range(COUNT), None).images
KEYS = Keys.of(0, range(COUNT))
CLASSES = ("red circle", "blue circle", "green square", "red square", "yellow triangle", "blue triangle")


@cache
def clip(name: str = "scenes:clip") -> ZeroShot:
    """An embedder of the embedded world with a few of its classes."""
    return ZeroShot(load(name), CLASSES, "a picture of a {}")


def objective(defense: Defense, count: int = 3) -> UntargetedObjective:
    """Away from what the defended classifier says of the first images."""
    victim = Guarded(clip(), defense)
    return UntargetedObjective(goal=Untargeted(truth=victim.decide(X[:count], KEYS[:count]).answer), victim=victim)


def fooled(defense: Defense, count: int = 3, eps: float = 16 / 255, steps: int = 2) -> int:
    """How many of the first images a few steps of synthesis take from a defense."""
    through, keys = objective(defense, count), KEYS[:count]
    found = Synthesis(steps=steps, looks=1)(through, X[:count], Threat(eps=eps), keys)
    return int(through(found.x, keys).success.sum())


def passes(defense: Defense) -> tuple[float, float]:
    """Forwards and backwards for each of the first images."""
    with counting() as ledger:
        Guarded(clip(), defense).decide(X[:2], KEYS[:2])
    return ledger.forwards / 2, ledger.backwards / 2


def gradients(defense: Defense) -> tuple[Tensor, Tensor]:
    """Of the first scores of the first images, through the defense and past it."""
    victim, x = Guarded(clip(), defense), X[:2].clone().requires_grad_()
    return tuple(  # type: ignore[return-value]
        differentiate(victim.surrogate(x, KEYS[:2], gradient=manner).scores[:, 0, 0], x) for manner in ("full", "bpda")
    )


def worked_on(guarded: Guarded) -> tuple[list[bool], list[bool]]:
    """Which images the gate stops, and which get another answer than the bare model's."""
    assert guarded.adaptation is not None and guarded.gated
    keys = KEYS.repeat(1).fold("adapt")
    stopped = guarded.adaptation.gate(X, keys).detach() < 0
    moved = (guarded.decide(X, KEYS).scores - guarded.undefended.decide(X, KEYS).scores).abs().amax(1) > 1e-4
    return stopped.tolist(), moved.tolist()
