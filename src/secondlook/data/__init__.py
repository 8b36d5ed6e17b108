"""Images and sounds with labels or captions by name: ``FAMILY:REST``, streamed from disk."""

from __future__ import annotations

import re
import reprlib
from pathlib import Path
from typing import Any

from secondlook import registry
from secondlook.data.base import Captioned, Listing, Source
from secondlook.data.confined import folders, refuse_links, refuse_outside
from secondlook.data.sounds import Sounds
from secondlook.errors import InvalidInput, UnknownName, checked_name, telling_of_files
from secondlook.variables import filled, untold


def load(name: str, **settings: Any) -> Source:
    """The source under ``FAMILY:REST``, say ``scenes:test`` or ``folder:PATH``.

    Args:
        name: the family, and what it makes of the rest: a path, or a name that it lists. ``${NAME}``
            in it stands for a variable of the environment. Settings of the family may follow,
            ``folder:PATH?keep=0.9``; ``?links=true`` follows links out of the folder that is named.
        settings: other fields of the family, such as ``keep`` or ``prompt``.

    Raises:
        UnknownName: no such family, setting, or name in it; the nearest are offered.
        InvalidInput: the name has no rest, what lies there is not in the family's layout, it holds
            sounds, or a file of it is outside of the folder that is named.
    """
    source = _open(name, settings)
    if not isinstance(source, Source):
        raise InvalidInput(f"data {name!r} holds sounds, which have no pixels; name a set of images")
    return source


def load_sounds(name: str, **settings: Any) -> Sounds:
    """The sounds under ``FAMILY:REST``, say ``esc50:PATH``.

    Raises:
        UnknownName: as of ``load``.
        InvalidInput: as of ``load``, or it holds images.
    """
    sounds = _open(name, settings)
    if not isinstance(sounds, Sounds):
        raise InvalidInput(f"data {name!r} holds images; name a set of sounds: esc50:PATH")
    return sounds


def _open(name: str, settings: dict[str, Any]) -> Listing:
    family, colon, rest = checked_name("data", name).partition(":")
    if not colon and family not in registry.names("data"):
        raise UnknownName("data", name, _spellings(), [f"{family}:…" for family in registry.names("data")])
    if not rest:
        example = next(iter(listed(family)), "PATH")
        raise InvalidInput(f"data {name!r} names a family alone; write {family}:{example}")
    with untold(rest), telling_of_files(f"data {reprlib.repr(name)}"):
        place, said = _settings(filled(rest))
        links = said.pop("links", "false")
        if links not in ("true", "false"):
            raise InvalidInput(f"links={links} in {name!r}; write links=true or links=false")
        opened: Listing = registry.build("data", family, {"name": place, **said, **settings}).load()
        refuse_outside(opened.files, folders(place))
        if links != "true":
            refuse_links(opened.files, folders(place))
    # Those of images with captions are captions, which are read when they are wanted.
    classes = () if isinstance(opened, Captioned) else opened.classes
    if blank := [at for at, each in enumerate(classes) if not each.strip()]:
        raise InvalidInput(f"class {blank[0]} of {name!r} has a blank name; give each class a name")
    return opened


_TAIL = re.compile(r"\?(\w+=[^?]*)$")


def _settings(rest: str) -> tuple[str, dict[str, str]]:
    """``PATH?keep=0.9&links=true`` as the path and its settings; a ``?`` of what is there stays."""
    tail = _TAIL.search(rest)
    if tail is None or Path(rest).expanduser().exists():
        return rest, {}
    pairs = [part.partition("=") for part in tail[1].split("&")]
    said = {key: value for key, _, value in pairs}
    if len(said) < len(pairs):
        raise InvalidInput(f"a setting stands twice in ?{tail[1]}; write each once")
    return rest[: tail.start()], said


def listed(family: str) -> dict[str, str]:
    """The sources that a family knows by name, with a line each."""
    cls: Any = registry.find("data", family)
    sources: dict[str, str] = cls.listed()
    return sources


def _spellings() -> list[str]:
    families = registry.names("data")
    return [f"{family}:{rest}" for family in families for rest in listed(family) or ["PATH"]]
