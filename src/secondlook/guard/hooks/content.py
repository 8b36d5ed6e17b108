"""The images in what a chat or a request holds, and verdicts on them; nothing is fetched from anywhere."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from torch import Tensor

from secondlook.data.decoding import decode
from secondlook.errors import InvalidInput
from secondlook.guard.guard import Guard, Verdict
from secondlook.guard.policy import Policy

MAX_BYTES: Final = 10_000_000
"""Of an encoded image."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What became of one image of a request.

    Attributes:
        verdict: of the guard; None where the image could not be read.
        trouble: why it could not; empty where it could.
    """

    verdict: Verdict | None = None
    trouble: str = ""

    @property
    def refused(self) -> bool:
        """Whether the model must not see the image."""
        return self.verdict is None or self.verdict.decision == "rejected"

    @property
    def reason(self) -> str:
        """Why it is refused, for a log and for whoever sent it; empty where it is not."""
        if self.verdict is None:
            return self.trouble
        if not self.refused:
            return ""
        return f"it looks attacked (p = {self.verdict.p_value:.3f})"


@runtime_checkable
class Finder(Protocol):
    """What decides on encoded images in a way of its own, as a service does."""

    @property
    def policy(self) -> Policy:
        """Of its guard."""

    async def find(self, text: str, name: str) -> Finding:
        """What became of one encoded image, which errors call ``name``."""


def images_of(content: object) -> Iterator[str]:
    """The images in the content of a message: base64, data URLs, links, in their order.

    Known are the blocks of OpenAI (``image_url``, ``input_image``), of LangChain (``image`` with ``base64`` or ``url``)
    and of Anthropic (``image`` with a ``source``). Of an image that is held elsewhere, by a file's id, the text is
    empty, which no guard accepts.
    """
    if not isinstance(content, list | tuple):
        return
    for block in content:
        if isinstance(block, Mapping) and "image" in str(block.get("type", "")):
            yield _encoded(block)


def _encoded(block: Mapping[str, Any]) -> str:
    held = block.get("image_url") or block.get("source") or block
    if isinstance(held, str):
        return held
    if not isinstance(held, Mapping):
        return ""
    return str(held.get("base64") or held.get("data") or held.get("url") or "")


async def findings(guard: Guard | Finder, images: Sequence[str]) -> list[Finding]:
    """What a guard says of encoded images, in their order; the event loop goes on meanwhile.

    Draws are keyed by names that nobody can foresee.
    """
    named = [(text, f"image {at}") for at, text in enumerate(images, start=1)]
    if isinstance(guard, Guard):
        return [await asyncio.to_thread(_finding, guard, *each) for each in named]
    return [await guard.find(*each) for each in named]


def _finding(guard: Guard, text: str, name: str) -> Finding:
    try:
        return Finding(verdict=guard.check(decoded(text, name, guard.guarded.size)[None])[0])
    except InvalidInput as error:
        return Finding(trouble=str(error))


def decoded(text: str, name: str, size: tuple[int, int] | None) -> Tensor:
    """Pixels ``[3, H, W]`` in [0, 1] of a data URL or of base64.

    Args:
        text: the encoded image.
        name: what errors call it.
        size: height and width of the result; None for its own.

    Raises:
        InvalidInput: as :func:`bytes_of`, or it is no image.
    """
    return decode(io.BytesIO(bytes_of(text, name)), name, size)


def bytes_of(text: str, name: str) -> bytes:
    """The bytes of a data URL or of base64.

    Raises:
        InvalidInput: it is a link or empty, larger than ``MAX_BYTES``, or no base64.
    """
    head, comma, body = text.partition(",")
    if not comma:
        body = text
    elif not (head.startswith("data:") and head.endswith(";base64")):
        raise InvalidInput(f"{name} is no base64, and nothing is fetched; send data:image/png;base64,…")
    if "://" in body[:16] or not body:
        raise InvalidInput(f"{name} is {'a link' if body else 'empty'}, and nothing is fetched; send it as base64")
    if 3 * len(body) > 4 * MAX_BYTES:
        raise InvalidInput(f"{name} has more than {MAX_BYTES / 1e6:g} MB; send a smaller one")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{name} is no base64 ({error}); send data:image/png;base64,…") from None
