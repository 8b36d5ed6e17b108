"""When a vote may stop at a stated error: stochastic curtailment of the count.

A count stops for certain when the votes that are left could not change its outcome. It stops *curtailed*
where they hardly could: K. K. G. Lan, R. Simon, M. Halperin, "Stochastically curtailed tests in long-term
clinical trials", Sequential Analysis 1, 1982. What is bounded is the chance that the outcome is another
than that of all votes, for whatever distribution the draws of an input have; nothing is assumed of the
input, so that an attacker's is no exception.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

Numbers = NDArray[np.float64]

_SHARES = np.linspace(0.005, 0.995, 199)
"""Chances of the leader at which the error is looked for; between them it is flat."""


@lru_cache(maxsize=64)
def stopping_leads(votes: int, error: float) -> tuple[int, ...]:
    """The lead over all other classes together at which to stop, after 0 to ``votes`` draws.

    Args:
        votes: draws in all, N.
        error: the allowed chance that the outcome is not that of N draws; 0 for none.

    Returns:
        N + 1 numbers; one above the number of draws where no lead is enough.
    """
    every = {_even(votes - n, lead) for n in range(1, votes) for lead in range(1, n + 1)}
    for chance in sorted(every, reverse=True):
        leads = _leads_below(votes, chance)
        if disagreement(votes, leads) <= error:
            return leads
    return _leads_below(votes, 0.0)


def disagreement(votes: int, leads: tuple[int, ...]) -> float:
    """The largest chance that a vote stopped at ``leads`` ends otherwise than one of all draws.

    A class that is drawn with the chance p stops the vote in its favor and is caught up with all the
    same with a chance f(p). The chances of all classes sum to one, and so the sum of f over the
    classes is at most the largest f(p) / p, for any number of them. A tie counts as an error.
    """
    return float((_caught_up(votes, leads) / _SHARES).max())


def _caught_up(votes: int, leads: tuple[int, ...]) -> Numbers:
    """f(p) at each of the shares: the states of the count that have not stopped, draw by draw."""
    found = np.zeros_like(_SHARES)
    going = np.zeros((votes + 1, len(_SHARES)))
    going[0] = 1.0
    for n in range(1, votes):
        going[1:] = going[1:] * (1 - _SHARES) + going[:-1] * _SHARES
        going[0] *= 1 - _SHARES
        for own in range(n + 1):
            lead = 2 * own - n
            if lead >= leads[n]:
                found += going[own] * _reversal(votes - n, lead)
                going[own] = 0.0
    return found


@lru_cache(maxsize=8192)
def _reversal(left: int, lead: int) -> Numbers:
    """The chance that ``left`` draws take the leader's lead away, for each share that it has of them."""
    return np.asarray(binom.cdf((left - lead) // 2, left, _SHARES), np.float64)


def _even(left: int, lead: int) -> float:
    """That chance where every draw is as likely the leader's as not."""
    return float(_reversal(left, lead)[len(_SHARES) // 2])


def _leads_below(votes: int, chance: float) -> tuple[int, ...]:
    """At each draw the least lead that an even chance takes away with at most ``chance``."""
    every = (
        next((lead for lead in range(1, n + 1) if _even(votes - n, lead) <= chance), n + 1) for n in range(votes + 1)
    )
    return tuple(every)
