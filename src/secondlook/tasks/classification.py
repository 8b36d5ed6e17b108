"""Naming what is on an image, against an attacker who is content with any wrong answer."""

from __future__ import annotations

from dataclasses import dataclass

from secondlook.registry import register
from secondlook.tasks.zeroshot import Wish, ZeroShotTask


@register("task", "classification")
@dataclass(frozen=True, kw_only=True)
class Classification(ZeroShotTask):
    """Classification, attacked untargeted: any answer but the truth will do, if it is accepted.

    Attributes:
        goal: ``untargeted``, or ``targeted`` for what ``zeroshot`` does by itself.
    """

    goal: Wish = "untargeted"
