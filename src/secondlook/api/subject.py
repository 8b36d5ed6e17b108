"""What a user calls a model, as a classifier of this package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Classifier, Embedder, Model
from secondlook.models.logits import SOUNDS, LogitClassifier, asked, logits_of
from secondlook.models.zeroshot import ZeroShot
from secondlook.signals import IMAGE, Signal

Subject: TypeAlias = nn.Module | Model | str | Callable[[Tensor], Any]
"""A network or function from pixels in [0, 1] to logits; a model of this package, or its name."""


def as_model(model: Subject, classes: Sequence[str] | None = None, signal: Signal = IMAGE) -> Model:
    """The model that ``model`` is: a name is loaded, a function becomes a classifier.

    Args:
        model: what the user has.
        classes: the names of a function's logits; by default they are counted.
        signal: what a function takes.

    Raises:
        UnknownName: a name that no model has.
        InvalidInput: it is no model.
    """
    made: Any = load(model) if isinstance(model, str) else model
    if isinstance(made, Model):
        return made
    if isinstance(made, Guarded):
        raise InvalidInput(
            f"{made.model.name} has a defense around it; give the model itself, and the defense beside it"
        )
    if isinstance(made, type):
        raise InvalidInput(f"model={made.__name__} is a class; write {made.__name__}(...)")
    if not callable(made):
        raise InvalidInput(
            f"model={made!r} is no model; give an nn.Module or another function from pixels "
            "[B, C, H, W] in [0, 1] to logits [B, K], or a name such as 'scenes:classifier'"
        )
    return FunctionClassifier(made, classes, signal)


def classifier(model: Subject, classes: Sequence[str] | None = None, signal: Signal = IMAGE) -> Classifier:
    """The classifier that ``model`` is; an embedder is one of ``classes``, which it needs.

    Raises:
        UnknownName, InvalidInput: as :func:`as_model`, or it names no classes.
    """
    made = as_model(model, classes, signal)
    if isinstance(made, Classifier):
        return made
    if not isinstance(made, Embedder):
        raise InvalidInput(
            f"{made.name} is a {type(made).__name__}, which names no classes; give a classifier or an embedder"
        )
    if classes is None:
        raise InvalidInput(
            f"{made.name} embeds, and has no classes of its own; write classes=[...], the names that y counts"
        )
    return ZeroShot(made, classes, made.prompt)


def home(modules: Iterable[nn.Module]) -> torch.device | None:
    """Where the networks are; None where they have no numbers of their own."""
    first = next((t for m in modules for t in chain(m.parameters(), m.buffers())), None)
    return None if first is None else first.device


def networks(function: Callable[[Tensor], Any]) -> tuple[nn.Module, ...]:
    """The networks that a function is, holds or names: ``lambda x: net(x).logits`` names ``net``.

    They are put into eval mode with it, and pixels are brought to their device.
    """
    if isinstance(function, nn.Module):
        return (function,)
    code, named = getattr(function, "__code__", None), getattr(function, "__globals__", {})
    held = [named.get(name) for name in code.co_names] if code else []
    for cell in getattr(function, "__closure__", None) or ():
        with suppress(ValueError):  # a cell that is still empty
            held.append(cell.cell_contents)
    if isinstance(function, partial):
        held += [*networks(function.func), *function.args, *function.keywords.values()]
    held += [getattr(function, "__self__", None), *getattr(function, "__dict__", {}).values()]
    found = [each for each in held if isinstance(each, nn.Module)]
    return tuple({id(each): each for each in found}.values())


class FunctionClassifier(LogitClassifier):
    """A user's network or function to logits; how many classes it has its first answer says.

    Args:
        function: ``[B, C, H, W]`` in [0, 1] to logits ``[B, K]``, or to an object or mapping that
            has them under ``logits``.
        classes: their names; by default they are counted from 0.
        signal: what it takes in place of images, in its own shape and range.

    Raises:
        InvalidInput: when it is asked: it raises at its first image, or answers something else.
    """

    def __init__(
        self, function: Callable[[Tensor], Any], classes: Sequence[str] | None = None, signal: Signal = IMAGE
    ) -> None:
        named = str(getattr(function, "__name__", type(function).__name__))
        name = "function" if named == "<lambda>" else named
        inside = function if signal is IMAGE else lambda x: asked(function, signal.natural(x), name, SOUNDS)
        super().__init__(name, inside, classes or ("0", "1"), modules=networks(function))
        self.classes, self._answered = self.classes if classes else (), False
        self.device = home(self.modules)

    def to(self, device: torch.device) -> None:
        """Leaves a user's network where it is; pixels are brought to it."""

    def named(self, classes: Sequence[str]) -> None:
        """Gives names to the logits of a function that has answered already.

        Raises:
            InvalidInput: there are not as many.
        """
        if len(classes) != len(self.classes):
            raise InvalidInput(
                f"{self.name} answers {len(self.classes)} logits and the data has {len(classes)} "
                "classes; write classes=[...], the names of the logits"
            )
        self.classes = tuple(classes)

    def _logits(self, x: Tensor) -> Tensor:
        if self._answered:
            return super()._logits(x)
        logits = logits_of(asked(self.function, x, self.name), self.name, len(x))
        self.classes = self.classes or tuple(str(k) for k in range(logits.shape[1]))
        if logits.shape[1] != len(self.classes):
            raise InvalidInput(
                f"{self.name} answered {tuple(logits.shape)}, and there are {len(self.classes)} "
                "classes; classes=[...] names each logit"
            )
        self._answered = True
        return logits
