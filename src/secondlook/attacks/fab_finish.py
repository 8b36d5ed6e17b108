"""The nearest points that fool, and the last bit of the way to them or beyond them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from secondlook.attacks.contest import Contest, margin
from secondlook.attacks.pool import Diary
from secondlook.randomness import Keys
from secondlook.threat import Threat, per_sample

SECANTS = 3


class Look(NamedTuple):
    """What was seen of some points: the lead, mean over the draws, and whether all are fooled."""

    lead: Tensor
    fooled: Tensor

    @classmethod
    def of(cls, scores: Tensor, losing: Tensor) -> Look:
        """The look that gave the scores ``[A, N, K]``."""
        leads = margin(scores.detach(), losing)
        return cls(leads.mean(1), (leads > 0).all(1))


class Nearest:
    """The nearest point of each sample that was seen to fool.

    Attributes:
        x: that point, ``[B, ...]``; the clean image where there is none.
        distance: how far it is, ``[B]``, infinite where there is none.
        lead: of the best other class there, ``[B]``.
        start: the same at the clean image.
    """

    def __init__(self, clean: Tensor) -> None:
        self.x = clean.clone()
        self.distance = clean.new_full((len(clean),), float("inf"))
        self.lead, self.start = torch.zeros_like(self.distance), torch.zeros_like(self.distance)

    def keep(self, rows: Tensor, x: Tensor, look: Look, distance: Tensor) -> None:
        """Remembers those points ``x`` of the samples ``rows`` that fool from nearer."""
        nearer = look.fooled & (distance < self.distance[rows])
        rows = rows[nearer]
        self.x[rows], self.distance[rows] = x[nearer], distance[nearer]
        self.lead[rows] = look.lead[nearer].to(self.lead)


@dataclass(frozen=True, kw_only=True)
class Finish:
    """Looks at points on the line through the clean image and what was found.

    Attributes:
        bout, clean, keys: of the whole batch.
        threat: measures.
        diary: is told of what fools.
        width: samples in a forward; 0 for all.
    """

    bout: Contest
    clean: Tensor
    keys: Keys
    threat: Threat
    diary: Diary
    width: int

    def draw_nearer(self, found: Nearest, enough: float, eta: float) -> None:
        """Searches the boundary between the clean image and the point by its secant, three times.

        The final search of Croce & Hein 2020, where the point is farther than ``enough``; ``eta``
        leaves a share of the gap, so that what is found lies beyond the boundary.
        """
        away = found.x - self.clean
        high, low = torch.ones_like(found.lead), torch.zeros_like(found.lead)
        above, below = found.lead.clone(), found.start.clone()
        for turn in range(SECANTS):
            far = found.distance.isfinite() & (found.distance > enough)
            rows = torch.nonzero(far).flatten()
            share = (above / (above - below) / eta).nan_to_num(0.5).clamp(0, 1)
            at = high - (high - low) * share
            x = self.clean[rows] + per_sample(at[rows]) * away[rows]
            look = self._look(rows, x, f"secant {turn}")
            found.keep(rows, x, look, self.threat.size(x - self.clean[rows]))
            for won, place, lead in ((look.fooled, high, above), (~look.fooled, low, below)):
                place[rows[won]], lead[rows[won]] = at[rows[won]], look.lead[won]

    def push_out(self, found: Nearest) -> None:
        """Goes on outwards to the edge of the ball, where the point there fools in 8 bits too."""
        rows = torch.nonzero((found.distance > 0) & (found.distance <= self.threat.eps)).flatten()
        clean = self.clean[rows]
        stretch = per_sample(self.threat.eps / found.distance[rows])
        x = self.threat.project(clean + (found.x[rows] - clean) * stretch, clean)
        x = self.threat.quantise(x, clean)
        wins = self._look(rows, x, "edge").fooled
        found.x[rows[wins]] = x[wins]

    def _look(self, rows: Tensor, x: Tensor, purpose: str) -> Look:
        """A forward of the points ``x`` of the samples ``rows``, without a gradient."""
        looks = [Look(x.new_zeros(0), rows.new_zeros(0, dtype=torch.bool))]
        keys = self.keys.fold(purpose)
        for part, points in zip(
            *(t.split(self.width or len(x) or 1) for t in (rows, x)), strict=True
        ):
            if not len(part):
                continue
            bout = self.bout.take(part)
            with torch.no_grad():
                looks.append(Look.of(bout.look(points, keys[part]).scores, bout.losing))
        look = Look(*(torch.cat(column) for column in zip(*looks, strict=True)))
        self.diary.note(rows[look.fooled], look.lead[look.fooled])
        return look
