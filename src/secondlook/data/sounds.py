"""Sounds with classes or captions, read lazily."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from secondlook.data.base import Listing
from secondlook.data.decoding import reason
from secondlook.data.waves import EXTENSIONS, Wave, hear
from secondlook.errors import InvalidInput
from secondlook.registry import digest


class Heard(NamedTuple):
    """Sounds that were read. They may differ in length and rate: bringing them to one is a model's.

    Attributes:
        waves: samples in [-1, 1] and their rate, one for each row.
        truth: ``[B]``, index into ``classes``.
    """

    waves: tuple[Wave, ...]
    truth: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Sounds(Listing):
    """Sounds that are a file each; a file is opened when its row is read.

    Attributes:
        ids: one name per sound.
        classes: candidate texts.
        paths: the file of each sound.
        truth: the class of each sound.
        prompt: the template around a class name.
        texts: all captions; none where the sounds have classes alone.
        owner: for each caption the row of its sound.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    truth: tuple[int, ...]
    prompt: str = "{}"
    texts: tuple[str, ...] = ()
    owner: tuple[int, ...] = ()

    def listen(self, rows: Sequence[int]) -> Heard:
        """Reads the sounds ``rows``.

        Raises:
            InvalidInput: a file is truncated or no sound, or the extra ``audio`` is missing.
        """
        truth = torch.tensor([self.truth[row] for row in rows], dtype=torch.long)
        return Heard(tuple(hear(self.paths[row]) for row in rows), truth)

    @property
    def hash(self) -> str:
        """Names, classes, truth and captions."""
        return digest([super().hash, self.truth, self.texts, self.owner])


def find(folder: Path) -> dict[str, Path]:
    """The sound files of a folder by name, sorted; hidden ones left out.

    Raises:
        InvalidInput: the folder is missing, or holds none.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS)
    except OSError as error:
        raise InvalidInput(
            f"{folder} cannot be read as a folder ({reason(error)}); name one that is there"
        ) from error
    found = {path.name: path for path in files if not path.name.startswith(".")}
    if not found:
        raise InvalidInput(f"no sounds in {folder}; they must end in {', '.join(EXTENSIONS)}")
    return found
