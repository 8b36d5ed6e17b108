"""The state of a training under way: one file, whole or not at all, and of one training."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from secondlook.drafts import write_atomic
from secondlook.errors import InvalidInput, refusal

_DIGEST: Final = 32


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Writes in one move, so that a kill leaves the old state or the new one; its digest comes first.

    Raises:
        BrokenRun: the file cannot be written.
    """
    held = io.BytesIO()
    torch.save(state, held)
    content = held.getvalue()
    write_atomic(path, _digest(content) + content)


def read_state(path: Path) -> dict[str, Any] | None:
    """What :func:`write_state` wrote last, on the CPU; None where there is nothing.

    Raises:
        InvalidInput: it is damaged, or something else, or cannot be read.
    """
    if not path.exists():
        return None
    if not path.is_file():
        raise InvalidInput(f"{path} is no file; move it away, or name another --out")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {refusal(error)}") from None
    if content[:_DIGEST] != _digest(content[_DIGEST:]):
        raise InvalidInput(f"{path} is no checkpoint, or is damaged; remove it to begin again")
    state: dict[str, Any] = {}
    with restoring(path):
        state |= torch.load(io.BytesIO(content[_DIGEST:]), weights_only=True, map_location="cpu")
    return state


@contextmanager
def restoring(path: Path) -> Iterator[None]:
    """Turns what a state that does not fit raises within the block into a sentence about ``path``.

    Raises:
        InvalidInput: it does not fit.
    """
    try:
        yield
    except InvalidInput:
        raise
    except Exception as error:  # whatever torch says of a state of other shapes
        what = " ".join(str(error).split())[:200]
        raise InvalidInput(
            f"{path} holds the state of another training ({type(error).__name__}: {what}); "
            "remove it to begin again, or name another --out"
        ) from None


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST).digest()
