"""Exported programs on disk: the JSON card beside each, its checks, and the program itself."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from secondlook.errors import InvalidInput

Kind = Literal["classifier", "embedder", "autoencoder-encoder", "autoencoder-decoder"]
_FREE = "export it with a free batch size: dynamic_shapes=({0: torch.export.Dim('batch', min=1)},)"
_EXAMPLE = '{"kind": "classifier", "labels": ["cat", "dog"], "input": [3, 32, 32], "sha256": "..."}'


class Rules(BaseModel):
    """The tokenizer of a text encoder, as its card has it."""

    type: Literal["words"]
    pattern: str
    lowercase: bool = True
    length: int
    pad: int = 0
    unknown: int = 1
    vocabulary: str


class Card(BaseModel):
    """What a card must and may say; other keys are the reader's own.

    Attributes:
        kind: what the program is.
        input: shape of one input: ``[3, H, W]`` of an image, ``[L]`` of a text.
        sha256: of the ``.pt2`` file.
        labels: names of a classifier's outputs, in order.
        labels_file: or a file beside the card with one name in each line.
        modality: of an embedder.
        tokenizer: of an embedder of texts.
    """

    kind: Kind
    input: tuple[int, ...]
    sha256: str
    labels: tuple[str, ...] | None = None
    labels_file: str | None = None
    modality: Literal["image", "text"] | None = None
    tokenizer: Rules | None = None


@dataclass(frozen=True, kw_only=True)
class Program:
    """An exported program and its card, checked against each other.

    Attributes:
        path: the ``.pt2`` file.
        card: its card.
        run: the program, a function of one batch; gradients flow through it.
    """

    path: Path
    card: Card
    run: Callable[[Tensor], Tensor]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images that it takes.

        Raises:
            InvalidInput: its input is no image of three channels.
        """
        shape = self.card.input
        if len(shape) != 3 or shape[0] != 3:
            raise InvalidInput(f"{self.path}: input={list(shape)} in its card is no image; write [3, H, W]")
        return shape[1], shape[2]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the outputs of a classifier.

        Raises:
            InvalidInput: the card has none, or the file that it names cannot be read.
        """
        if self.card.labels is not None:
            return self.card.labels
        card = self.path.with_suffix(".json")
        if self.card.labels_file is None:
            raise InvalidInput(f'{card} has no labels; write "labels": ["first", "second", ...]')
        file = card.parent / self.card.labels_file
        if not file.is_file() or not Path(os.path.realpath(file)).parent.samefile(card.parent):
            raise InvalidInput(f"{card} names labels_file={self.card.labels_file}, which is not beside it")
        text = file.read_bytes().decode("utf-8-sig")
        return tuple(row.strip() for row in text.rstrip().split("\n"))


def read(path: Path) -> Program:
    """The program at ``path`` with its card, read, verified and loaded.

    Raises:
        InvalidInput: a file is missing or damaged, or the card does not belong to the program.
    """
    if not path.is_file():
        near = ", ".join(sorted(file.name for file in path.parent.glob("*.pt2")))
        raise InvalidInput(f"no file {path}; its folder has {near or 'no .pt2 file'}")
    card = read_card(path.with_suffix(".json"))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != card.sha256:
        raise InvalidInput(
            f"{path} has SHA-256 {found}, its card says {card.sha256}; "
            "fetch the file again, or fix the card if it is right"
        )
    return Program(path=path, card=card, run=_load(path))


def read_card(path: Path) -> Card:
    """The card at ``path``.

    Raises:
        InvalidInput: it is missing, no JSON, or lacks a field.
    """
    if not path.is_file():
        raise InvalidInput(f"card {path} is missing; write one, say {_EXAMPLE}")
    try:
        return Card.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "JSON"
        raise InvalidInput(f"card {path}: {field}: {first['msg']}; say {_EXAMPLE}") from None


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Nothing but errors is logged within the block: what fails is told in one line."""
    log = logging.getLogger(logger)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _load(path: Path) -> Callable[[Tensor], Tensor]:
    if not zipfile.is_zipfile(path):
        raise InvalidInput(f"{path} is no exported program: it is no zip file; write it with torch.export.save")
    try:
        with _quiet("torch.export"):
            program = torch.export.load(path)
            module = program.module()
    except Exception as error:
        raise InvalidInput(
            f"{path} is no exported program that torch {torch.__version__} reads: {error}; "
            "write it with torch.export.save"
        ) from error
    least, most = _batches(program)
    if least == most:
        raise InvalidInput(f"{path} takes batches of {least:g} and no others; {_FREE}")

    def check(module: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
        if not least <= len(given[0]) <= most:
            raise InvalidInput(
                f"{path} takes batches of {least:g} to {most:g}, and this is of {len(given[0])}; {_FREE}"
            )

    module.register_forward_pre_hook(check, prepend=True)
    # Its graph is of one mode for good, and eval() is refused; the flag alone says training.
    for part in module.modules():
        part.training = False
    return module.requires_grad_(False)


def _batches(program: torch.export.ExportedProgram) -> tuple[float, float]:
    """The smallest and the largest batch that a program takes."""
    inputs = set(program.graph_signature.user_inputs)
    first = next((node.meta.get("val") for node in program.graph.nodes if node.name in inputs), None)
    if not isinstance(first, Tensor) or not first.ndim:
        return 0, math.inf
    size: Any = first.shape[0]
    if isinstance(size, int):
        return size, size
    known = program.range_constraints.get(size.node.expr)
    return (float(known.lower), float(known.upper)) if known is not None else (0, math.inf)
