"""The labels of the data as those of a model: by published index, else by name."""

from __future__ import annotations

import torch
from torch import Tensor

from secondlook.data.base import Source
from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier
from secondlook.models.labels import plain


def translated(truth: Tensor, source: Source, model: Classifier) -> Tensor:
    """The source's classes ``[B]`` as the model's, ``[B]``.

    Raises:
        InvalidInput: a label that is no class of the source, or one that the model does not know.
    """
    wrong = truth[(truth < 0) | (truth >= len(source.classes))]
    if len(wrong):
        raise InvalidInput(
            f"the data has the label {int(wrong[0])} and {len(source.classes)} classes; "
            f"labels count from 0 to {len(source.classes) - 1}"
        )
    if model.classes == source.classes:
        return truth
    known = source.indices
    if known is not None and len(model.classes) - 1000 in (0, 1):
        return torch.tensor([known[int(index)] for index in truth]) + len(model.classes) - 1000
    return _by_name(truth, source.classes, model)


def theirs(chosen: Tensor, classes: tuple[str, ...], model: Classifier) -> Tensor:
    """Classes ``[B]`` out of ``classes`` as those of another model, ``[B]``.

    Raises:
        InvalidInput: one of them is no class of ``model``.
    """
    if model.classes == classes:
        return chosen
    used, places = torch.unique(chosen, return_inverse=True)
    names = tuple(classes[int(index)] for index in used)
    return _by_name(torch.arange(len(names)), names, model)[places]


def _by_name(chosen: Tensor, names: tuple[str, ...], model: Classifier) -> Tensor:
    theirs = {plain(name): index for index, name in enumerate(model.classes)}
    ours = [plain(name) for name in names]
    lost = [name for name in ours if name not in theirs]
    if lost:
        raise InvalidInput(
            f"{model.name} has no class {lost[0]!r} ({len(lost)} of {len(ours)} are unknown); "
            "its labels and those of the data must have the same names"
        )
    return torch.tensor([theirs[ours[int(index)]] for index in chosen])
