"""A bare replay of a network's passes: each is run again by hand, right after it was asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from secondlook.attacks.pairs import PairAttack, Pairs
from secondlook.data import load
from secondlook.randomness import Keys
from secondlook.threat import Threat


@dataclass
class Bare:
    """Seconds that the replay has taken, and the rows that went through.

    Passes whose input asks for a gradient are replayed with it, forward and back.
    """

    seconds: float = 0.0
    forwards: int = 0
    backwards: int = 0

    def turn(self, network: nn.Module, given: tuple[Any, ...], out: Tensor) -> None:
        """One pass, timed."""
        start = time.perf_counter()
        x = given[0]
        self.forwards += len(x)
        if x.requires_grad:
            own = x.detach().requires_grad_()
            with torch.enable_grad():
                torch.autograd.grad(network.forward(own).sum(), own)
            self.backwards += len(x)
        else:
            with torch.no_grad():
                network.forward(x)
        self.seconds += time.perf_counter() - start


class Race(NamedTuple):
    """Seconds of an attack without its replay, and the replay."""

    seconds: float
    bare: Bare


def race(attack: PairAttack, victim: Any, model: Any, pairs: Pairs, threat: Threat) -> Race:
    """One attack on a victim, with the passes of its towers and of the language model replayed."""
    keys = Keys.of(0, range(len(pairs.images)))
    with replayed([victim.network.text, victim.network.image, model.network]) as bare:
        start = time.perf_counter()
        attack(victim, pairs, threat, keys)
        both = time.perf_counter() - start
    return Race(both - bare.seconds, bare)


def scenes(count: int) -> Pairs:
    """The first scenes of the test split with their five captions."""
    source = load("scenes:test", n=count).captioned()
    rows = range(count)
    return Pairs(source.read(rows, None).images, tuple(source.captions(row) for row in rows))


@contextmanager
def replayed(networks: Sequence[nn.Module], bare: Bare | None = None) -> Iterator[Bare]:
    """Runs every pass of ``networks`` inside the block a second time, bare."""
    bare = bare or Bare()
    handles = [network.register_forward_hook(bare.turn) for network in networks]
    try:
        yield bare
    finally:
        for handle in handles:
            handle.remove()
