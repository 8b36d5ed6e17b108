"""A middleware of LangChain's agents: an image that the guard refuses ends the turn before the model sees it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from secondlook.errors import InvalidInput
from secondlook.guard.guard import Guard
from secondlook.guard.hooks.content import findings, images_of

REFUSAL = "I cannot look at an image of this message."


async def refused(guard: Guard, messages: Iterable[Any]) -> str:
    """Why the images of messages must not be shown to a model; empty where they may.

    Args:
        guard: that decides.
        messages: with a ``content`` each, a text or a list of blocks; those of the model itself are passed over.
    """
    theirs = [message for message in messages if getattr(message, "type", "human") != "ai"]
    images = [image for message in theirs for image in images_of(getattr(message, "content", ""))]
    found = await findings(guard, images)
    return "; ".join(f"image {at}: {each.reason}" for at, each in enumerate(found, start=1) if each.refused)


def middleware(guard: Guard, refusal: str = REFUSAL) -> Any:
    """For ``create_agent(…, middleware=[middleware(guard)])``; the agent is asked by ``await agent.ainvoke(…)``.

    Args:
        guard: that decides.
        refusal: what is answered in place of the model.

    Raises:
        InvalidInput: langchain is not installed.
    """
    try:
        agents, messages = map(import_module, ("langchain.agents.middleware", "langchain.messages"))
    except ImportError as error:
        raise InvalidInput(f"a middleware needs LangChain 1 ({error}); run: pip install langchain") from None

    @agents.before_model(can_jump_to=["end"])  # type: ignore[untyped-decorator]
    async def secondlook_guard(state: Any, runtime: Any) -> dict[str, Any] | None:
        why = await refused(guard, state["messages"])
        if not why:
            return None
        return {"messages": [messages.AIMessage(refusal, additional_kwargs={"guard": why})], "jump_to": "end"}

    return secondlook_guard
