"""The study *own*: an audit of a model, or of data, from outside of the embedded world, where no study is named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from secondlook.places import at_home

if TYPE_CHECKING:
    from secondlook.audit.study import Study

_WORLD = ("scenes:", "local:")
"""Models of the embedded world: shipped, and trained here."""
_SCENES, _FOLDER = "scenes:", "folder:"
_UNLABELED = (
    "What `secondlook audit --model MODEL --data folder:PATH` runs for images that nobody labeled: attacks that want "
    "another answer than the bare model's to the clean image, at 8/255, against the model bare and behind what needs "
    "no training."
)
_LONGEST = 80
"""Letters of a folder's name; a study's takes 100, and a hash may follow."""


def study_meant(models: Sequence[str], data: str) -> str:
    """The study that is meant where none is named.

    Args:
        models: as ``--model`` gives them; empty takes the study's.
        data: as ``--data`` gives it; empty takes the study's.
    """
    foreign = [name for name in models if not name.startswith(_WORLD)]
    return "own" if foreign or (data and not data.startswith(_SCENES)) else "default"


def fitted(study: Study, models: Sequence[str], data: str) -> Study:
    """The study *own* of models and data: named and titled by them, with purifiers where they fit."""
    from secondlook.audit.study import parse, read

    names = list(models) or study.models
    place = data or study.task.get("data", "scenes:test")
    table: dict[str, Any] = study.model_dump(exclude_unset=True)
    table |= {"name": folder_name([*names, place]), "title": f"{', '.join(names)} on {place}", "models": names}
    table["task"] = {**study.task, "data": place}
    if count := unlabeled(place):
        table["title"] = f"{', '.join(names)} on {place}: no labels, no accuracy; what attacks change"
        table["about"] = _UNLABELED
        table["task"] = {"name": "unlabeled", "samples": min(study.task.get("samples", 100), count), "data": place}
        table["attack"] = {**study.attack, "objective": "untargeted"}
        table["adaptive"] = {**study.adaptive, "objective": "untargeted"}
    if place.startswith(_SCENES):
        table["defenses"] = [*study.defenses, *(each for each in read("default").defenses if "purifier" in each)]
    return parse(table, "the options")


def unlabeled(data: str) -> int:
    """How many images a folder has that nobody labeled; what is wrong with data is told by the plan."""
    from secondlook.data import load
    from secondlook.errors import SecondlookError

    if not data.startswith(_FOLDER):
        return 0
    try:
        source = load(data)
    except SecondlookError:
        return 0
    return len(source) if getattr(source, "unlabeled", False) else 0


def folder_name(names: Sequence[str]) -> str:
    """One safe name of a folder out of names of models and data; of a path from the root on its last part stays.

    Example:
        >>> folder_name(["hf:~/my/clip?dtype=bf16", "folder:../photos/"])
        'hf-my-clip-dtype-bf16-folder-photos'
    """
    short = [re.sub(r"(^|:)/(?:[^/?]*/)*(?=[^/])", r"\1", at_home(name.rstrip("/"))) for name in names]
    safe = "-".join(filter(None, (re.sub(r"\W+", "-", name).strip("-") for name in short)))
    return safe[-_LONGEST:].strip("-") or "own"
