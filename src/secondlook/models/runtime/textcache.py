"""Text vectors on disk, so that a large ensemble of prompts is embedded only once."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder, evaluating
from secondlook.registry import digest

FEW = 200
"""Fewer texts than this are embedded anew: that is faster than hashing a large model."""
_CHUNK = 256
_log = logging.getLogger(__name__)


def cached(embedder: Embedder, texts: Sequence[str], each: int = 1) -> Tensor:
    """Unit vectors of texts, ``[T / each, D]`` in fp32, read from disk where they were before.

    They lie in ``text`` in the folder ``SECONDLOOK_CACHE``, else ``~/.cache/secondlook``, under a
    hash of weights, tokenizer, texts and versions. An embedder without weights or without a
    ``tokenizer`` to tell it by is always asked, and a folder that cannot be written is passed
    over.

    Args:
        embedder: what reads the texts.
        texts: ``T`` texts.
        each: so many texts in a row make one vector, the normalized mean of their unit vectors.

    Raises:
        InvalidInput: there is no text, one is empty, or ``T`` is no multiple of ``each``.
    """
    if each < 1 or len(texts) % each:
        raise InvalidInput(f"{len(texts)} texts cannot be taken each={each} at a time")
    path = _place(embedder, texts, each) if len(texts) >= FEW else None
    if path is None:
        return _embedded(embedder, texts, each)
    stored = _read(path, len(texts) // each)
    if stored is not None:
        return stored.to(_device(embedder))
    vectors = _embedded(embedder, texts, each)
    _write(path, vectors)
    return vectors


def _embedded(embedder: Embedder, texts: Sequence[str], each: int) -> Tensor:
    """Embeds some texts at a time, since a thousand classes times eighty are many vectors."""
    step, parts = _CHUNK * each, []
    with evaluating(embedder.modules):
        for start in range(0, max(len(texts), 1), step):
            vectors = embedder.embed_text(texts[start : start + step], _CHUNK)
            parts.append(vectors if each == 1 else vectors.unflatten(0, (-1, each)).mean(1))
    joined = torch.cat(parts)
    return joined if each == 1 else F.normalize(joined, dim=-1)


def _place(embedder: Embedder, texts: Sequence[str], each: int) -> Path | None:
    """The file of these vectors; None where nothing tells this embedder from another."""
    spelling, kind, folder = _spelling(embedder), type(embedder), _folder()
    if spelling is None or folder is None or embedder.weights_hash == digest(embedder.name):
        return None
    identity = [
        kind.__module__,
        kind.__qualname__,
        embedder.hash,
        spelling,
        each,
        list(texts),
        _device(embedder).type,
        version("secondlook"),
        torch.__version__,
    ]
    return folder / f"{digest(identity)}.safetensors"


def _spelling(embedder: Embedder) -> str | None:
    """What tells the tokenizer from others: its hash, else how it prints."""
    tokenizer = getattr(embedder, "tokenizer", None)
    held = str(getattr(tokenizer, "hash", None) or tokenizer)
    # What prints as its place in memory is another one in the next process.
    return None if tokenizer is None or " at 0x" in held else held


def _folder() -> Path | None:
    named = os.environ.get("SECONDLOOK_CACHE")
    try:
        root = Path(named) if named else Path.home() / ".cache" / "secondlook"
    except RuntimeError:
        # A container may run as a user who has no home.
        return None
    return root / "text"


def _device(embedder: Embedder) -> torch.device:
    weights = (weight for module in embedder.modules for weight in module.parameters())
    first = next(weights, None)
    return torch.device("cpu") if first is None else first.device


def _read(path: Path, rows: int) -> Tensor | None:
    """The vectors at ``path``; None where there are none, or not as they were written."""
    if not path.is_file():
        return None
    try:
        vectors = load(path.read_bytes())["vectors"]
    except (OSError, SafetensorError, KeyError) as error:
        _log.warning("%s is damaged and is written anew: %s", path, error)
        return None
    lengths = vectors.norm(dim=-1) if vectors.dim() == 2 else vectors.new_zeros(1)
    if len(vectors) != rows or not bool(((lengths - 1).abs() < 1e-3).all()):
        _log.warning("%s holds no %d unit vectors and is written anew", path, rows)
        return None
    return vectors


def _write(path: Path, vectors: Tensor) -> None:
    """Writes in one step, so that another process reads all or nothing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent, ignore_cleanup_errors=True) as draft:
            part = Path(draft) / path.name
            part.write_bytes(save({"vectors": vectors.cpu().contiguous()}))
            os.replace(part, path)
    except OSError as error:
        _log.debug("text vectors are not kept: %s", error)
