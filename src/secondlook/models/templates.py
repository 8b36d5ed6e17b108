"""Templates that make texts of class names: one's own, or a named set of the literature."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple

from secondlook.errors import UnknownName


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
    return MappingProxyType(
        {name: TemplateSet(t["about"], tuple(t["templates"])) for name, t in tables.items()}
    )


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
