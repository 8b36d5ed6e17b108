"""Several bouts over the same inputs: every victim is to be fooled by one and the same image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from secondlook.attacks.contest import View
from secondlook.errors import InvalidInput
from secondlook.goals.base import Ensemble
from secondlook.goals.mislead import Bout
from secondlook.randomness import Keys


@dataclass(frozen=True, kw_only=True)
class Melee(Ensemble):
    """An ensemble that is a contest too: each victim's looks count as further draws.

    An attack's own loss is then the mean over all looks, and success is to fool every one.

    Attributes:
        members: bouts over the same classes, which all can reject or all cannot.
        split: whether an attack that can takes one step for each member in turn.

    Raises:
        InvalidInput: the members differ in their classes, or in whether they can reject.
    """

    members: tuple[Bout, ...]

    def __post_init__(self) -> None:
        if len({(member.classes, member.rejects) for member in self.members}) > 1:
            raise InvalidInput(
                "victims that are attacked together must have the same classes, "
                "and all of them reject or none"
            )

    @property
    def losing(self) -> Tensor:
        """Truth, and the rejection where there is one, ``[B, L]``."""
        return self.members[0].losing

    @property
    def classes(self) -> int:
        """How many classes K there are, without the rejection."""
        return self.members[0].classes

    def look(self, x: Tensor, keys: Keys) -> View:
        """Scores and opinions of every draw of every victim."""
        views = [member.look(x, keys.fold("member", i)) for i, member in enumerate(self.members)]
        scores, opinions = (torch.cat(each, 1) for each in zip(*views, strict=True))
        return View(scores, opinions)

    def drawing(self, draws: int) -> Melee:
        """The same melee with another number of fresh looks of each victim in each step."""
        return replace(self, members=tuple(member.drawing(draws) for member in self.members))

    def take(self, rows: Tensor) -> Melee:
        """The same melee for some of the samples."""
        return replace(self, members=tuple(member.take(rows) for member in self.members))
