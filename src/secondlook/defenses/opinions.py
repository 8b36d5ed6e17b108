"""Further models that are asked about the classes of the defended one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Classifier, Embedder
from secondlook.models.labels import places, renamed
from secondlook.models.zeroshot import ZeroShot


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """One model's view of the classes of another.

    Attributes:
        model: who is asked.
        columns: where each class of the other stands among its own, ``[K]``.
    """

    model: Classifier
    columns: tuple[int, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Scores ``[B, K]`` in the order of the other model's classes."""
        scores = self.model(x)
        if self.columns == tuple(range(scores.shape[1])):
            return scores
        return scores[:, list(self.columns)]


def opinions(
    given: Any, about: Classifier, prompt: str, labels: Mapping[str, str]
) -> tuple[Opinion, ...]:
    """The models that ``given`` names or holds, each matched with the classes of ``about``.

    Args:
        given: a name, several with commas between, an embedder or a classifier, or a list of such.
        about: the defended model.
        prompt: for embedders: a template or the name of a set; empty takes that of ``about``, if
            it is a zero-shot classifier itself, else the embedder's own.
        labels: what the others call some of the classes of ``about``.

    Raises:
        InvalidInput: there is none, one is the defended model itself or neither an embedder nor a
            classifier, some score in cosines and others do not, or a class has no partner.
    """
    many = given.split(",") if isinstance(given, str) else given
    many = many if isinstance(many, list | tuple) else [many]
    made = [load(each.strip()) if isinstance(each, str) else each for each in many]
    found = tuple(_matched(each, about, prompt, labels) for each in made)
    if not found:
        raise InvalidInput("opinions is empty; name a model, scenes:clip")
    if len({opinion.model.cosine for opinion in found}) > 1:
        raise InvalidInput(
            f"opinions={_names(made)} score partly in cosines and partly in logits, whose gaps "
            "have no common unit; take one kind"
        )
    return found


def _matched(made: Any, about: Classifier, prompt: str, labels: Mapping[str, str]) -> Opinion:
    if not isinstance(made, Embedder | Classifier):
        raise InvalidInput(f"opinions={made!r} neither embeds nor classifies images")
    if made.name == about.name:
        raise InvalidInput(
            f"opinions={made.name!r} is the defended model itself, which always agrees; "
            "name another"
        )
    if isinstance(made, Classifier):
        columns = places(about.classes, made.classes, labels, made.name)
        return Opinion(model=made, columns=columns)
    own = about.prompt if isinstance(about, ZeroShot) else made.prompt
    model = ZeroShot(made, renamed(about.classes, labels), prompt or own)
    return Opinion(model=model, columns=tuple(range(len(about.classes))))


def _names(models: Iterable[Any]) -> str:
    return ", ".join(model.name for model in models)
