"""Whether traffic still looks like the images that a guard was calibrated on: a conformal test martingale.

Each suspicion is ranked among the calibration scores and all that came before. While all are exchangeable, these
p-values are independent and uniform, and a bet against that gains nothing: the chance that its capital ever reaches
1 / delta is at most delta (Ville's inequality; Vovk, Nouretdinov and Gammerman, "Testing exchangeability on-line", ICML
2003, whose power martingales are the bets here).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from math import exp, log
from random import Random

_BETS = tuple(each / 10 for each in range(1, 10))
"""Exponents of the bets; the capital is the mean over them."""
_MOST = 600.0
"""The largest logarithm of a capital that is kept; e to the power of it is still a number."""


class Drift:
    """A bet that large suspicions come too often.

    Args:
        scores: suspicions of the calibration set.
        delta: the chance of a false alarm, ever.
        seed: of the draws that break ties.
        most: scores that are kept; after so many it begins anew from the calibration set.
    """

    def __init__(
        self, scores: Sequence[float], delta: float = 0.01, seed: int | None = None, most: int = 100_000
    ) -> None:
        self.delta, self._calibration, self._most = delta, sorted(scores), most
        self._random, self.alarm, self.seen = Random(seed), False, 0
        self._begin()

    def _begin(self) -> None:
        self._scores, self._logs = list(self._calibration), [0.0] * len(_BETS)

    def add(self, suspicion: float) -> float:
        """Bets on one more suspicion, and says its p-value."""
        if len(self._scores) >= max(self._most, 2 * len(self._calibration)):
            self._begin()
        low, high = bisect_left(self._scores, suspicion), bisect_right(self._scores, suspicion)
        count = len(self._scores)
        p = (count - high + self._random.uniform(1e-12, 1) * (high - low + 1)) / (count + 1)
        insort(self._scores, suspicion)
        self._logs = [
            min(old + log(bet) + (bet - 1) * log(p), _MOST) for old, bet in zip(self._logs, _BETS, strict=True)
        ]
        self.seen += 1
        self.alarm = self.alarm or self.capital >= 1 / self.delta
        return p

    @property
    def capital(self) -> float:
        """What the bet of 1 has come to."""
        return sum(map(exp, self._logs)) / len(_BETS)
