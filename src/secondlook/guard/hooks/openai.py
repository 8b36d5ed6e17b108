"""The shape of OpenAI's moderation: ``POST /v1/moderations``, with the category ``adversarial``."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

from secondlook.errors import InvalidInput
from secondlook.guard.guard import Guard
from secondlook.guard.hooks.content import Finder, Finding, findings, images_of

CATEGORY: Final = "adversarial"


async def moderation(guard: Guard | Finder, request: Mapping[str, Any]) -> dict[str, Any]:
    """The reply to a request: one result for all of its input, flagged where one image of it is refused.

    The score is one less the conformal p-value of the most suspicious image: of clean images at most a share s has a
    score of ``1 - s`` or more. An image that cannot be read has the score 1.

    Args:
        guard: that decides, or a service around one.
        request: ``{"input": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}}, …]}``; texts are
            never flagged.

    Raises:
        InvalidInput: ``input`` is missing, or neither a text nor a list.
    """
    given = request.get("input")
    if not isinstance(given, str | list):
        raise InvalidInput('input is missing; send [{"type": "image_url", "image_url": {"url": "data:…"}}]')
    found = await findings(guard, list(images_of(given)))
    flagged = any(each.refused for each in found)
    return {
        "id": f"modr-{uuid.uuid4().hex}",
        "model": guard.policy.model,
        "results": [
            {
                "flagged": flagged,
                "categories": {CATEGORY: flagged},
                "category_scores": {CATEGORY: max(map(_score, found), default=0.0)},
                "category_applied_input_types": {CATEGORY: ["image"] if found else []},
            }
        ],
    }


def _score(found: Finding) -> float:
    return 1.0 if found.verdict is None else 1.0 - found.verdict.p_value
