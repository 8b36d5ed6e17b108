"""A custom action of NeMo Guardrails: whether the images of the user's message may be shown to the model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from secondlook.guard.guard import Guard
from secondlook.guard.hooks.content import findings, images_of


def action(guard: Guard) -> Callable[..., Awaitable[bool]]:
    """For ``rails.register_action(action(guard), "check_images")``.

    The action is true where every image of the last message is accepted, and where it has none.

    Example:
        an input rail: ``$allowed = execute check_images``, and ``if not $allowed`` the bot refuses and stops
    """

    async def check_images(context: Mapping[str, Any] | None = None) -> bool:
        known = context or {}
        said = known.get("user_message") or known.get("last_user_message")
        return not any(each.refused for each in await findings(guard, list(images_of(said))))

    return check_images
