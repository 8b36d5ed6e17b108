"""Oxford-IIIT Pet: photographs of cats and dogs by breed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from secondlook.bounds import Part
from secondlook.data.base import Family, part_of
from secondlook.data.files import Files, Line, lines
from secondlook.errors import InvalidInput
from secondlook.registry import register


@register("data", "pets")
@dataclass(frozen=True, kw_only=True)
class Pets(Family):
    """Oxford-IIIT Pet (Parkhi et al. 2012): ``pets:FOLDER#test``, or ``#trainval``.

    As published: ``images/NAME.jpg``, and ``annotations/test.txt`` with a line ``NAME CLASS SPECIES
    BREED`` for each. A class is called as its images are: ``Maine_Coon_12`` is a *Maine Coon*.

    Attributes:
        prompt: makes a text of a class name.
        keep: center crop, as a share of the short side.
    """

    prompt: str = "a photo of a {}, a type of pet."
    keep: Part = 1.0

    def load(self) -> Files:
        """Reads the list and finds its images.

        Raises:
            InvalidInput: there is no such list, a line is not in its form, an image is missing or
                comes twice, or a class has two names.
        """
        folder, split = part_of(self.name)
        found = lines(folder / "annotations" / f"{split or 'test'}.txt", "NAME CLASS ... a line")
        pets = [_pet(line, folder / "images") for line in found if line.values["text"][0] != "#"]
        names: dict[int, str] = {}
        seen: set[str] = set()
        for pet in pets:
            _check(pet, names, seen)
        order = sorted(names)
        return Files(
            ids=tuple(pet.path.name for pet in pets),
            classes=tuple(names[number] for number in order),
            paths=tuple(pet.path for pet in pets),
            truth=tuple(order.index(pet.number) for pet in pets),
            prompt=self.prompt,
            keep=self.keep,
        )


class _Pet(NamedTuple):
    where: str
    path: Path
    breed: str
    number: int


def _pet(line: Line, folder: Path) -> _Pet:
    name, *numbers = line.values["text"].split()
    if "_" not in name or not numbers or not numbers[0].isdecimal():
        raise InvalidInput(
            f"{line.where}: {line.values['text']!r} must be NAME CLASS SPECIES BREED, say Abyssinian_201 1 1 1"
        )
    path = folder / f"{name}.jpg"
    if not path.is_file():
        raise InvalidInput(f"{line.where} names {path}, which is not there; add it")
    return _Pet(line.where, path, name.rpartition("_")[0].replace("_", " "), int(numbers[0]))


def _check(pet: _Pet, names: dict[int, str], seen: set[str]) -> None:
    """Enters a pet's name and class, unless they clash with what is there."""
    if pet.path.name in seen:
        raise InvalidInput(f"{pet.where} lists {pet.path.stem} again; list it once")
    seen.add(pet.path.name)
    if names.setdefault(pet.number, pet.breed) != pet.breed:
        raise InvalidInput(
            f"{pet.where} calls class {pet.number} {pet.breed!r}, an earlier line "
            f"{names[pet.number]!r}; give it one name"
        )
