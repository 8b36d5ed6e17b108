"""Any function from images to logits, as a classifier."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier, resized
from secondlook.models.runtime.memory import out_of_memory


class LogitClassifier(Classifier):
    """Wraps ``function``; its logits are features and scores at once. Images have any channels.

    Args:
        name: how the user calls it.
        function: ``[B, C, H, W]`` in [0, 1] to logits ``[B, K]``, or to an object or mapping that
            has them under ``logits``.
        classes: the ``K`` names in order, or a mapping from 0, 1, … to them (``id2label``).
        size: the height and width that it takes, or the side of a square; None where any will do.
        modules: the networks inside.

    Raises:
        InvalidInput: names or a size that are none, or fewer than two classes; when it is asked,
            an answer that is not ``[B, K]``.
    """

    channels = None

    def __init__(
        self,
        name: str,
        function: Callable[[Tensor], Tensor],
        classes: Iterable[Any] | Mapping[Any, Any],
        *,
        size: int | Iterable[int] | None = None,
        modules: tuple[nn.Module, ...] = (),
    ) -> None:
        self.name, self.function, self.modules = name, function, modules
        self.classes, self.size = class_names(classes, name), image_size(size, name)

    def features(self, x: Tensor) -> Tensor:
        """Logits ``[B, K]`` in fp32."""
        seen = self.checked_input(x)
        out = self.engine(self._logits, resized(seen, *self.size) if self.size else seen, self.name)
        return out.to(x.device)

    def _logits(self, x: Tensor) -> Tensor:
        out = logits_of(asked(self.function, x, self.name), self.name, len(x))
        wanted = (len(x), len(self.classes))
        if tuple(out.shape) != wanted:
            raise InvalidInput(
                f"{self.name} answered {tuple(out.shape)} where logits {wanted} were due: "
                f"one for each of {wanted[0]} images and {wanted[1]} classes"
            )
        return out

    def scores(self, features: Tensor) -> Tensor:
        """The logits as they are."""
        return features


class Form(NamedTuple):
    """What a function takes, for messages: what it is called, its shape and range."""

    called: str
    shape: str


PIXELS, SOUNDS = Form("pixels", "[B, C, H, W] in [0, 1]"), Form("sounds", "[B, T] in [-1, 1]")


def asked(function: Callable[[Tensor], Any], x: Tensor, name: str, form: Form = PIXELS) -> Any:
    """What a user's function answers; what it raises is told by its name, but for too little memory.

    Raises:
        InvalidInput: it raised something, which is the cause.
    """
    try:
        return function(x)
    except InvalidInput:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InvalidInput(
            f"{name} raised {type(error).__name__} on {form.called} {tuple(x.shape)} on {x.device}: {reason}; "
            f"it has to take {form.called} {form.shape} and to answer logits [B, K]"
        ) from error


def logits_of(out: Any, name: str, count: int) -> Tensor:
    """The logits ``[B, K]`` in what a function answers to ``count`` images.

    They may be the answer itself, or an object or mapping that has them under ``logits``.

    Raises:
        InvalidInput: there are none; the message says what to give.
    """
    out = out.get("logits", out) if isinstance(out, Mapping) else getattr(out, "logits", out)
    if not isinstance(out, Tensor):
        what, pick = type(out).__name__, "[0]"
        if isinstance(out, Mapping):
            what, pick = (
                f"{what} with {', '.join(map(repr, out)) or 'nothing in it'}",
                f"[{next(iter(out), 'logits')!r}]",
            )
        elif isinstance(out, list | tuple):
            what = f"{what} of {len(out)}"
        raise InvalidInput(
            f"{name} answered {what}, not logits [B, K]; give a function that names the logits in it: "
            f"lambda x: model(x){pick}"
        )
    shape = tuple(out.shape)
    if shape in ((count,), (count, 1)):
        raise InvalidInput(
            f"{name} answered {shape}, one number for an image; give two classes: "
            "lambda x: torch.stack([-model(x).flatten(), model(x).flatten()], 1)"
        )
    if out.dim() != 2 or len(out) != count:
        raise InvalidInput(
            f"{name} answered {shape} where logits [B, K] of {count} image(s) were due; give "
            "lambda x: model(x).flatten(1), or what makes them of it"
        )
    if not out.is_floating_point():
        raise InvalidInput(
            f"{name} answered {str(out.dtype).removeprefix('torch.')}; logits are floats, as they are before an argmax"
        )
    return out


def class_names(classes: Any, who: str) -> tuple[str, ...]:
    """Names in the order of the logits, from a sequence or from ``{0: name, 1: name, ...}``.

    Args:
        classes: what a model calls its classes.
        who: whose they are, for the message.

    Raises:
        InvalidInput: fewer than two, no names, or names without an order.

    Example:
        >>> class_names({1: "dog", 0: "cat"}, "mine")
        ('cat', 'dog')
    """
    if isinstance(classes, Mapping):
        by_row = {str(key): name for key, name in classes.items()}
        if set(by_row) != set(map(str, range(len(by_row)))):
            raise InvalidInput(f"{who} has classes={_short(classes)}; write a name for 0, 1, 2, …")
        classes = [by_row[str(row)] for row in range(len(by_row))]
    if isinstance(classes, set | frozenset):
        raise InvalidInput(f"{who} has classes={_short(classes)}, which has no order; write a list")
    if isinstance(classes, str | bytes) or not isinstance(classes, Iterable):
        raise InvalidInput(f"{who} has classes={classes!r}; write the names of its logits")
    names = tuple(map(str, classes))
    if not all(name.strip() for name in names):
        raise InvalidInput(f"{who} has classes={_short(names)}, one of them blank; write a name for each")
    if len(names) < 2:
        raise InvalidInput(f"{who} has classes={_short(names)}; write two or more names")
    return names


def image_size(size: Any, who: str) -> tuple[int, int] | None:
    """Height and width, from both or from the side of a square; None stays None.

    Raises:
        InvalidInput: it is no size; ``who`` has it, for the message.

    Example:
        >>> image_size(224, "mine")
        (224, 224)
    """
    if size is None:
        return None
    try:
        sides = [operator.index(side) for side in ([size, size] if _whole(size) else size)]
    except TypeError:
        sides = []
    if len(sides) != 2 or min(sides) < 1:
        raise InvalidInput(f"{who} has size={size!r}; write (height, width) or one number")
    return sides[0], sides[1]


def _whole(value: Any) -> bool:
    return hasattr(value, "__index__") and not hasattr(value, "__len__")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:76]} ..."
