"""Prompts that are tuned for one image: class vectors as a function of the context's token vectors.

A text tower is open where it looks its tokens up in a table once for a batch of texts, as those of
CLIP and its kin do, and where a gradient comes back from there. The table's rows for the context,
``a photo of a``, are then replaced on the way, and nothing else of the tower is touched.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.bounds import Count, Part, Positive, Weight
from secondlook.defenses.adaptation import ViewAdaptation, Weighed, slope
from secondlook.defenses.base import Defense
from secondlook.defenses.test_time.crops import resized_crops
from secondlook.defenses.test_time.dbd import entropy
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys

AT_ONCE: Final = 1024
"""Texts that go through the tower at once: some images' classes, each with its own context."""

PROBES: Final = 16
"""Classes that tell where the first word of a text is."""


class _Lookup(NamedTuple):
    """One call of a table.

    Attributes:
        table: which.
        ids: what was looked up, ``[T, L]``.
        found: ``[T, L, W]``.
    """

    table: nn.Embedding
    ids: Tensor
    found: Tensor


class OpenPrompt:
    """The vectors of classes, each in a prompt whose context has token vectors of its own.

    Args:
        embedder: whose text tower it is.
        classes: their names.
        template: with ``{}`` where the class goes; what is before it is the context.
        defense: who asks, for messages.

    Attributes:
        start: the token vectors of the context as it is written, ``[n, W]``.

    Raises:
        InvalidInput: the text tower is not open, or nothing is before the class.
    """

    def __init__(self, embedder: Embedder, classes: Sequence[str], template: str, defense: str) -> None:
        self.embedder = embedder
        self.texts = [template.replace("{}", name) for name in classes]
        words = template.split("{}")[0].strip()
        if not words:
            raise InvalidInput(f"prompt={template!r} has nothing before the class to tune; write 'a photo of a {{}}'")
        table, marks = _table(embedder, ["red", "blue", *classes[:PROBES]], defense)
        alone, whole = (_looked_up(embedder, [text], table) for text in (words, f"{words} {classes[0]}"))
        self.table, self.first = table, marks
        self.start = alone.found[0, marks : _common(alone.ids[0], whole.ids[0])].detach()
        if not len(self.start):
            raise InvalidInput(f"the text tower of {embedder.name} has no tokens for {words!r}; write another prompt")

    def vectors(self, context: Tensor) -> Tensor:
        """Unit vectors of all classes in each image's own context, ``[B, n, W] -> [B, K, D]``."""
        size = max(1, AT_ONCE // len(self.texts))
        return torch.cat([self._vectors(part) for part in context.split(size)])

    def _vectors(self, context: Tensor) -> Tensor:
        wide = context.repeat_interleave(len(self.texts), 0)
        last = self.first + context.shape[1]

        def replaced(_: nn.Module, __: Any, found: Tensor) -> Tensor:
            return torch.cat([found[:, : self.first], wide.to(found), found[:, last:]], 1)

        with _hooked([self.table], replaced):
            found = self.embedder.encode_text(self.texts * len(context))
        return F.normalize(found.float(), dim=-1).view(len(context), len(self.texts), -1)


@contextmanager
def _hooked(tables: Sequence[nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    handles = [table.register_forward_hook(hook) for table in tables]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _table(embedder: Embedder, texts: Sequence[str], defense: str) -> tuple[nn.Embedding, int]:
    """The table of tokens, and how many marks stand before the first word.

    Raises:
        InvalidInput: there is none, or no gradient comes back to it.
    """
    tables = [part for module in embedder.modules for part in module.modules() if isinstance(part, nn.Embedding)]
    seen: list[_Lookup] = []

    def watch(table: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> Tensor:
        assert isinstance(table, nn.Embedding)
        found = found.detach().requires_grad_()
        seen.append(_Lookup(table, given[0], found))
        return found

    with torch.enable_grad(), _hooked(tables, watch):
        told = embedder.encode_text(texts)
    # Of several texts only tokens differ, not positions or types.
    tokens = [one for one in seen if one.ids.shape[:1] == (len(texts),) and bool((one.ids != one.ids[:1]).any())]
    if len(tokens) != 1 or not told.requires_grad:
        raise InvalidInput(
            f"{defense} tunes the prompt, and the text tower of {embedder.name} is not open: no gradient comes back to "
            "a table of its tokens; take scenes:clip, or a CLIP of the families hf: and openclip:"
        )
    rows = tokens[0].ids
    return tokens[0].table, min(_common(rows[0], row) for row in rows[1:])


def _looked_up(embedder: Embedder, texts: Sequence[str], table: nn.Embedding) -> _Lookup:
    seen: list[_Lookup] = []
    with torch.no_grad(), _hooked([table], lambda _, given, found: seen.append(_Lookup(table, given[0], found))):
        embedder.encode_text(texts)
    return seen[0]


def _common(one: Tensor, other: Tensor) -> int:
    """How many tokens two rows begin with in common."""
    length = min(len(one), len(other))
    return int((one[:length] == other[:length]).int().cumprod(0).sum())


@dataclass(frozen=True, kw_only=True)
class PromptTuning(Defense):
    """What defenses that tune a prompt to an image have in common.

    Attributes:
        crops: of the image, beside the image itself.
        share: of all views, of the lowest entropy, that the prompt is tuned to.
        least: the least share of the area that a crop has.
        rate: learning rate.
        decay: weight decay.
        temperature: cosines are divided by it.
        prompt: template to tune, with ``{}`` where the class goes; empty takes the model's own.

    Raises:
        InvalidInput: a number out of range, or too few views.
    """

    crops: Count = 63
    share: Part = 0.1
    least: Part = 0.08
    rate: Weight = 5e-3
    decay: Weight = 0.01
    temperature: Positive = 0.01
    prompt: str = ""

    def __post_init__(self) -> None:
        if not self.kept:
            raise InvalidInput(
                f"share={self.share:g} of {self.crops + 1} views is none; write more crops or a larger share"
            )

    @property
    def stochastic(self) -> bool:
        """Crops are drawn."""
        return True

    @property
    def kept(self) -> int:
        """How many views the prompt is tuned to."""
        return int(self.share * (self.crops + 1))


class TunedPrompt(ViewAdaptation):
    """Weighs the vectors of views, with class vectors from a prompt tuned for the image by one step of AdamW.

    The first step of Adam is the learning rate times the sign of the gradient, up to a part in a
    million; its derivative is 0, so that the tuned class vectors are constants in every manner.

    Args:
        model: who answers.
        settings: of the defense.
    """

    def __init__(self, model: ZeroShot, settings: PromptTuning) -> None:
        super().__init__(model)
        template = template_of(model, settings.prompt)
        self.prompt = OpenPrompt(model.embedder, model.classes, template, settings.registered_name)
        self.tuning = settings

    def views(self, x: Tensor, keys: Keys) -> Tensor:
        """The image itself, and crops of it."""
        crops = resized_crops(x, keys.fold("crops"), self.tuning.crops, self.tuning.least, flip=True)
        return torch.cat([x[:, None], crops], 1)

    @abstractmethod
    def doubt(self, logits: Tensor) -> Tensor:
        """What the step descends, ``[B]``, of the logits ``[B, kept, K]`` of the views that are kept."""

    @abstractmethod
    def shares(self, vectors: Tensor) -> Tensor:
        """What each view counts, ``[B, V]``, of the views' vectors ``[B, V, D]``."""

    def weighed(self, vectors: Tensor, keys: Keys) -> Weighed:
        """The shares, and the class vectors of the tuned prompt."""
        with torch.no_grad():
            classes = self.prompt.vectors(self.tuned(vectors.detach()))
        return Weighed(self.shares(vectors), classes.to(vectors))

    def tuned(self, vectors: Tensor) -> Tensor:
        """The context after the step, ``[B, n, W]``, of views' vectors ``[B, V, D]``."""
        start = self.prompt.start.to(vectors).expand(len(vectors), -1, -1)
        plain = self.prompt.vectors(start[:1])[0]
        kept = entropy(vectors @ plain.T / self.tuning.temperature).topk(self.tuning.kept, dim=1, largest=False).indices
        chosen = vectors.gather(1, kept[..., None].expand(-1, -1, vectors.shape[-1]))
        parts = [self._step(*part) for part in zip(start.split(1), chosen.split(1), strict=True)]
        return torch.cat(parts)

    def _step(self, start: Tensor, chosen: Tensor) -> Tensor:
        """One image at a time: a thousand classes are texts enough."""

        def doubt(context: Tensor) -> Tensor:
            logits = chosen @ self.prompt.vectors(context).mT / self.tuning.temperature
            return self.doubt(logits)

        rate, decay = self.tuning.rate, self.tuning.decay
        return start * (1 - rate * decay) - rate * slope(doubt, start).sign()


def template_of(model: ZeroShot, prompt: str) -> str:
    """The template to tune: ``prompt`` where there is one, the model's own, or the embedder's.

    Raises:
        InvalidInput: it has no ``{}``.
    """
    own = model.prompt if "{}" in model.prompt and model.prompt != "{}" else model.embedder.prompt
    template = prompt or own
    if "{}" not in template:
        raise InvalidInput(f"prompt={template!r} has no {{}} where the class goes; write 'a photo of a {{}}'")
    return template
