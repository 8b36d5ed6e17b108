"""Published checkpoints: read as they are, and poured into a network built without weights."""

from __future__ import annotations

import math
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from safetensors.torch import load_file
from torch import Tensor, cat, nn
from torch.nn import functional as F

from secondlook.errors import InvalidInput

Arguments = TypeVar("Arguments", bound=BaseModel)
Network = TypeVar("Network", bound=nn.Module)


def read(path: Path) -> dict[str, Tensor]:
    """The state dict in a ``.safetensors`` file, or in what ``torch.save`` wrote.

    Nothing but tensors and plain values is unpickled. A state dict under the key ``model``, beside
    the optimizer's and such, is taken from there.

    Raises:
        InvalidInput: there is no such file, it is damaged, or it holds no state dict.
    """
    if not path.is_file():
        near = sorted(f.name for f in path.parent.glob("*") if f.suffix in _SUFFIXES)
        raise InvalidInput(f"no file {path}; its folder has {', '.join(near) or 'no checkpoint'}")
    try:
        found = _unpacked(path)
    except Exception as error:
        raise InvalidInput(
            f"{path} is no checkpoint that torch {torch.__version__} reads without running code: "
            f"{_reason(error)}; fetch it again, or save its state dict as .safetensors"
        ) from error
    held = found.get("model", found) if isinstance(found, dict) else found
    if not isinstance(held, dict) or not all(isinstance(v, Tensor) for v in held.values()):
        raise InvalidInput(f"{path} holds no state dict; save one, plain or under the key 'model'")
    return held


def _reason(error: Exception) -> str:
    """What torch says, without its advice to read a file unsafely."""
    said = " ".join(str(error).split())
    if "weights_only" in said or isinstance(error, pickle.UnpicklingError):
        return "it holds more than tensors and plain values"
    return said if any(letter.isalpha() for letter in said) else "it is empty, damaged or of another kind"


_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")


def _unpacked(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    # The zip format can be mapped, which spares a copy of gigabytes; the older one cannot.
    mapped = zipfile.is_zipfile(path)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def arguments(path: Path, published: Arguments) -> Arguments:
    """What the JSON beside a checkpoint says of its network; ``published`` where there is none.

    Raises:
        InvalidInput: the JSON lacks a field, has one too many, or one that does not fit.
    """
    card = path.with_suffix(".json")
    if not card.is_file():
        return published
    try:
        return type(published).model_validate_json(card.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "JSON"
        raise InvalidInput(f"{card}: {field}: {first['msg']}; write it like {published.model_dump_json()}") from None


def beside(path: Path, name: str, chosen: Path | None, what: str) -> Path:
    """The file that goes with a checkpoint: the ``chosen`` one, else ``name`` in its folder.

    Raises:
        InvalidInput: it is missing; ``what`` says what it is.
    """
    file = chosen or path.with_name(name)
    if not file.is_file():
        raise InvalidInput(f"{file}, {what}, is missing; put {name} into {path.parent}, beside {path.name}")
    return file


def pour(network: Network, weights: Mapping[str, Tensor], source: Path) -> Network:
    """``network``, built on the ``meta`` device, with ``weights``: frozen, fp32, in eval mode.

    Raises:
        InvalidInput: names or shapes differ; the first few are named.
    """
    wanted = network.state_dict()
    _same(f"{source} lacks", [key for key in wanted if key not in weights])
    _same(f"{source} has, and the network has not,", [key for key in weights if key not in wanted])
    bent = [key for key, value in wanted.items() if value.shape != weights[key].shape]
    shapes = [f"{key} {list(weights[key].shape)} for {list(wanted[key].shape)}" for key in bent]
    _same(f"{source} is of another size than its network:", shapes)
    network.load_state_dict(weights, assign=True)
    return network.float().eval().requires_grad_(False)


def _same(trouble: str, names: Sequence[str], show: int = 3) -> None:
    if not names:
        return
    more = f" and {len(names) - show} more" if len(names) > show else ""
    raise InvalidInput(
        f"{trouble} {', '.join(names[:show])}{more}; take the published file, or describe yours in {_CARD}"
    )


_CARD = "a JSON of the same name beside it"


def refitted(positions: Tensor, count: int) -> Tensor:
    """``[1, 1 + N, D]`` to ``[1, 1 + count, D]``, bicubic; the class token's own stays first.

    Raises:
        InvalidInput: either grid is not square.
    """
    held = positions.shape[1] - 1
    if held == count:
        return positions
    old, new = math.isqrt(held), math.isqrt(count)
    if old * old != held or new * new != count:
        raise InvalidInput(f"positions of {held} patches do not fit {count}; use square images")
    grid = positions[:, 1:].unflatten(1, (old, old)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (new, new), mode="bicubic")
    return cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
