"""An embedder as a classifier, by the texts that stand for its classes."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from secondlook.errors import InvalidInput, UnknownName
from secondlook.labels import labels
from secondlook.models.base import Classifier, Embedder
from secondlook.models.runtime.textcache import cached


class TemplateSet(NamedTuple):
    """Templates that belong together.

    Attributes:
        about: where they come from.
        templates: sentences, each with ``{}`` where the class goes, as their source spells them.
    """

    about: str
    templates: tuple[str, ...]


@cache
def template_sets() -> MappingProxyType[str, TemplateSet]:
    """The named sets; they are data, ``templates.toml``."""
    text = files("secondlook.models").joinpath("templates.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    return MappingProxyType({name: TemplateSet(t["about"], tuple(t["templates"])) for name, t in tables.items()})


def templates(prompt: str) -> tuple[str, ...]:
    """The templates that ``prompt`` stands for: itself if it has ``{}``, else the set it names.

    Example:
        >>> templates("a picture of a {}")
        ('a picture of a {}',)
        >>> templates("illusions")
        ('A photo of a {}.',)

    Raises:
        UnknownName: no set is called so; the nearest are offered.
    """
    if "{}" in prompt:
        return (prompt,)
    sets = template_sets()
    if prompt not in sets:
        raise UnknownName("set of templates (a template of your own has {} in it)", prompt, sets)
    return sets[prompt].templates


class ZeroShot(Classifier):
    """An embedder as a classifier: the score of a class is the cosine to its prompt's vector.

    With a set of templates the vector of a class is the normalized mean of the unit vectors of
    its texts, one for each template (Radford et al. 2021, section 3.1.4).

    Args:
        embedder: what sees the images and reads the texts.
        classes: two names or more.
        prompt: a template, with ``{}`` where the class goes, or the name of a set of templates:
            ``imagenet-80``.

    Example:
        ``ZeroShot(load("scenes:clip"), ("red circle", "blue star"), "a picture of a {}")``

    Raises:
        InvalidInput: fewer than two classes.
        UnknownName: a prompt without ``{}`` that no set of templates is called; the nearest are
            offered.
    """

    cosine = True

    def __init__(self, embedder: Embedder, classes: Sequence[str], prompt: str = "{}") -> None:
        if len(classes) < 2:
            raise InvalidInput(f"{len(classes)} class(es); a choice needs two or more")
        if not all(name.strip() for name in classes):
            raise InvalidInput(f"one of the {len(classes)} classes has a blank name; write a name for each")
        self.embedder, self.classes, self.prompt = embedder, tuple(classes), prompt
        self.name, self.modules = embedder.name, embedder.modules
        self.engine = embedder.engine
        self.size = getattr(embedder, "size", None)
        worded = templates(prompt)
        texts = [words.replace("{}", name) for name in classes for words in worded]
        self.texts = cached(embedder, texts, each=len(worded))
        if bool((self.texts == self.texts[0]).all()):
            raise InvalidInput(
                f"{embedder.name} has one vector for all {len(self.classes)} classes, {classes[0]!r} and the others; "
                "it knows none of their words: take another embedder, or other names"
            )

    @property
    def hash(self) -> str:
        """The embedder's own."""
        return self.embedder.hash

    def to(self, device: torch.device) -> None:
        """Moves the embedder, and the texts with it."""
        self.embedder.to(device)
        self.texts = self.texts.to(device)

    def features(self, x: Tensor) -> Tensor:
        """Unit vectors ``[B, D]``.

        Raises:
            InvalidInput: they are of another length than those of the texts.
        """
        found = self.embedder.embed(x)
        if found.shape[1:] != self.texts.shape[1:]:
            raise InvalidInput(
                f"{self.name} has vectors of {list(found.shape[1:])} for images and {list(self.texts.shape[1:])} for "
                "texts; both must be in one space"
            )
        return found

    def scores(self, features: Tensor) -> Tensor:
        """Cosines ``[..., K]``."""
        return features @ self.texts.T.to(features.device)

    def class_features(self, classes: Tensor) -> Tensor:
        """The vectors of the classes' prompts, ``[B, D]``."""
        return self.texts[labels(classes, None, len(self.classes), "classes")]
