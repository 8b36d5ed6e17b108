"""Captions as figures: how much of the truth they tell, and whether the attacker's is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secondlook.metrics.bleu import bleu
from secondlook.scenes.truth import Truth
from secondlook.statistics import Interval, mean, wilson


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was said of one image.

    Attributes:
        id: the image.
        text: the caption.
        target: what the attacker wants to be said.
        cider: CIDEr-D against the image's true captions.
        target_cider: CIDEr-D against the attacker's.
        verbatim: whether it is the attacker's, word for word.
        truth: the caption held against the scene; None where captions are all that is known.
        reached: whether it is about what the attacker's caption is about: it names colour and
            shape of that scene's main thing, or, of photographs, is the attacker's verbatim.
    """

    id: str
    text: str
    target: str
    cider: float
    target_cider: float
    verbatim: bool
    truth: Truth | None
    reached: bool


@dataclass(frozen=True, kw_only=True)
class CaptionFigures:
    """The figures of a row, with 95 % intervals.

    Attributes:
        n: images.
        cider: mean CIDEr-D against the true captions.
        bleu4: BLEU-4 of the whole set, which has no interval.
        target_cider: mean CIDEr-D against the attacker's captions.
        reached, verbatim: shares of the images; see :class:`Told`.
        main: share whose caption names colour and shape of the main thing; None for photographs,
            like the next two.
        whole: share whose every claim is so.
        claims: share of all claims that are so, over ``claimed`` of them.
        claimed: claims that were made.
    """

    n: int
    cider: Interval
    bleu4: float
    target_cider: Interval
    reached: Interval
    verbatim: Interval
    main: Interval | None = None
    whole: Interval | None = None
    claims: float | None = None
    claimed: int = 0


def figures(told: Sequence[Told], references: Sequence[Sequence[str]]) -> CaptionFigures:
    """The figures of what was said of images with these true captions, in the same order.

    Raises:
        InvalidInput: not as many references as captions.
    """
    truths = [each.truth for each in told if each.truth is not None]
    claimed = sum(truth.claims for truth in truths)
    known = len(truths) == len(told) > 0
    return CaptionFigures(
        n=len(told),
        cider=mean([each.cider for each in told]),
        bleu4=bleu([each.text for each in told], references),
        target_cider=mean([each.target_cider for each in told]),
        reached=_share([each.reached for each in told]),
        verbatim=_share([each.verbatim for each in told]),
        main=_share([truth.main for truth in truths]) if known else None,
        whole=_share([truth.whole for truth in truths]) if known else None,
        claims=sum(truth.true for truth in truths) / claimed if claimed else None,
        claimed=claimed,
    )


def _share(hits: Sequence[bool]) -> Interval:
    return wilson(sum(hits), len(hits))
