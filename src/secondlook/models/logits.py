"""Any function from images to logits, as a classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier, resized


class LogitClassifier(Classifier):
    """Wraps ``function``; its logits are features and scores at once.

    Args:
        name: how the user calls it.
        function: ``[B, 3, H, W]`` in [0, 1] to logits ``[B, K]``.
        classes: the ``K`` names.
        size: the height and width that it takes; None where any will do.
        modules: the networks inside.

    Raises:
        InvalidInput: fewer than two classes; when it is asked, an answer that is not ``[B, K]``.
    """

    def __init__(
        self, name: str, function: Callable[[Tensor], Tensor], classes: Sequence[str], *,
        size: tuple[int, int] | None = None, modules: tuple[nn.Module, ...] = (),
    ) -> None:  # fmt: skip
        if isinstance(classes, str) or len(classes) < 2:
            raise InvalidInput(f"{name} has classes={classes!r}; write two or more names")
        self.name, self.function, self.classes = name, function, tuple(map(str, classes))
        self.size, self.modules = size, modules

    def features(self, x: Tensor) -> Tensor:
        """Logits ``[B, K]`` in fp32."""
        seen = self.see(x)
        out = self.engine(self._logits, resized(seen, *self.size) if self.size else seen)
        return out.to(x.device)

    def _logits(self, x: Tensor) -> Tensor:
        out = self.function(x)
        wanted = (len(x), len(self.classes))
        shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        if shape != wanted:
            raise InvalidInput(
                f"{self.name} answered {shape} where logits {wanted} were due: "
                f"one for each of {wanted[0]} images and {wanted[1]} classes"
            )
        return out

    def scores(self, features: Tensor) -> Tensor:
        """The logits as they are."""
        return features
