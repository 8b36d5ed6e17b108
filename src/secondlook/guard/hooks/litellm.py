"""litellm's generic guardrail API: ``POST /beta/litellm_basic_guardrail_api``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secondlook.guard.guard import Guard
from secondlook.guard.hooks.content import Finder, findings


async def guardrail(guard: Guard | Finder, request: Mapping[str, Any]) -> dict[str, Any]:
    """The reply to a request: ``NONE`` lets it pass, ``BLOCKED`` stops it.

    Args:
        guard: that decides, or a service around one.
        request: ``{"images": [base64 or data URL, …], "texts": […], "input_type": "request", …}``; all but the images
            is left to other guardrails.

    Example:
        ``{"action": "BLOCKED", "blocked_reason": "image 2: it looks attacked (p = 0.001)"}``
    """
    images = request.get("images") or []
    if not isinstance(images, list):
        return {"action": "BLOCKED", "blocked_reason": "images is no list; send base64 or data URLs"}
    found = await findings(guard, [each if isinstance(each, str) else "" for each in images])
    reasons = [f"image {at}: {each.reason}" for at, each in enumerate(found, start=1) if each.refused]
    return {"action": "BLOCKED", "blocked_reason": "; ".join(reasons)} if reasons else {"action": "NONE"}
