"""The family ``openclip``: models of open_clip, as embedders."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from secondlook.errors import InvalidInput, UnknownName
from secondlook.models.base import Embedder, ModelFamily
from secondlook.models.io.preprocessing import Filter, Fit, Preprocessing, Resolution, Size
from secondlook.registry import digest, register

_ELSEWHERE = ("hf-hub:", "local-dir:")


@register("model", "openclip")
@dataclass(frozen=True, kw_only=True)
class OpenClip(ModelFamily):
    """``openclip:ARCH/PRETRAINED`` reads a model of open_clip; PRETRAINED is a tag or a file.

    ``openclip:hf-hub:OWNER/NAME`` and ``openclip:local-dir:FOLDER`` name a checkpoint that brings
    its architecture along. Needs the extra ``openclip``.

    Attributes:
        name: see above.
        resolution: what an attack on its images perturbs. ``input``: pictures that have been
            brought to the network's own size; ``native``: pictures of any size, through the
            resizing and cropping of the checkpoint.
    """

    resolution: Resolution = "input"

    def load(self) -> Embedder:
        """The embedder.

        Raises:
            InvalidInput: the extra or a file is missing or damaged, or the weights were trained
                with another activation than the architecture has.
            UnknownName: open_clip has no such architecture, or no such weights for it.
        """
        library = _library()
        arch, weights = _parts(library, self.name)
        try:
            network = library.create_model(arch, pretrained=weights, require_pretrained=True)
            tokenizer = library.get_tokenizer(arch)
        except Exception as error:
            raise InvalidInput(
                f"openclip:{self.name} cannot be loaded: {error}; without a network write "
                "openclip:ARCH/FILE, or openclip:local-dir:FOLDER with open_clip_config.json in it"
            ) from error
        full = f"openclip:{self.name}"
        if self.resolution == "native":
            full += "?resolution=native"
        return OpenClipEmbedder(full, network, tokenizer, self.resolution)


class OpenClipTokens:
    """A tokenizer of open_clip.

    Attributes:
        hash: tells it from others.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        words = getattr(tokenizer, "encoder", None) or tokenizer.tokenizer.get_vocab()
        cleaning = getattr(getattr(tokenizer, "clean_fn", None), "__name__", "")
        self.hash = digest([type(tokenizer).__qualname__, cleaning, tokenizer.context_length, words])

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Texts to numbers ``[B, L]``."""
        numbers: Tensor = self.tokenizer(list(texts))
        return numbers


class OpenClipEmbedder(Embedder):
    """Two towers of open_clip.

    Attributes:
        network: the network, in fp32 and frozen.
        preprocessing: from pixels to what its image tower takes.
        tokenizer: from texts to what its text tower takes.
        size: height and width that the images are attacked at; None where any will do.
    """

    def __init__(self, name: str, network: Any, tokenizer: Any, resolution: Resolution) -> None:
        self.name, self.network = name, network.float().eval().requires_grad_(False)
        self.modules, self.tokenizer = (self.network,), OpenClipTokens(tokenizer)
        self.preprocessing = preprocessing(network.visual.preprocess_cfg, name, resolution)
        self.size = self.preprocessing.size if resolution == "input" else None

    def encode_image(self, x: Tensor) -> Tensor:
        vectors: Tensor = self.network.encode_image(self.preprocessing(x))
        return vectors

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        device: torch.device = next(self.network.parameters()).device
        vectors: Tensor = self.network.encode_text(self.tokenizer.encode(texts).to(device))
        return vectors


def preprocessing(settings: dict[str, Any], name: str, resolution: Resolution) -> Preprocessing:
    """What open_clip's ``preprocess_cfg`` says, with a gradient.

    Raises:
        InvalidInput: it resizes in a way, or fills with a color, that is not known here.
    """
    given, mode, color = settings["size"], settings["resize_mode"], settings.get("fill_color", 0)
    size: Size = (given, given) if isinstance(given, int) else (given[0], given[1])
    fits: dict[str, Fit] = {"shortest": "shortest", "longest": "longest", "squash": "exact"}
    odd = mode == "shortest" and size[0] != size[1]
    if mode not in fits or odd or settings["interpolation"] not in get_args(Filter) or color:
        raise InvalidInput(f"{name} wants its images prepared in an unknown way: {settings}")
    return Preprocessing(
        fit=fits[mode],
        edge=size,
        crop=None if mode == "squash" else size,
        middle="even",
        filter=settings["interpolation"],
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
        resolution=resolution,
    )


def _library() -> Any:
    try:
        return importlib.import_module("open_clip")
    except ModuleNotFoundError as error:
        raise InvalidInput(f'{error.name} is not installed; run: pip install "secondlook[openclip]"') from None
    except RuntimeError as error:
        # This is how a torchvision that was built for another torch shows itself.
        raise InvalidInput(
            f"open_clip cannot be imported: {error}; install the torchvision that was built for "
            f"torch {torch.__version__}"
        ) from error


def _parts(library: Any, name: str) -> tuple[str, str | None]:
    """Architecture, and tag or file of its weights, both checked."""
    if name.startswith("local-dir:~"):
        return f"local-dir:{Path(name.removeprefix('local-dir:')).expanduser()}", None
    if name.startswith(_ELSEWHERE):
        return name, None
    arch, slash, weights = name.partition("/")
    if arch not in library.list_models():
        raise UnknownName("architecture of open_clip", arch, library.list_models())
    tags = library.list_pretrained_tags_by_model(arch)
    if not weights:
        known = ", ".join(tags) or "a file"
        raise InvalidInput(f"openclip:{name} names no weights; write {arch}/ and one of: {known}")
    file = Path(weights).expanduser()
    if file.is_file():
        return arch, str(file)
    plain = arch.removesuffix("-quickgelu")
    other = f"{arch}-quickgelu" if arch == plain else plain
    # An architecture with QuickGELU lists the weights alone that were trained with it.
    tag = library.get_pretrained_cfg(arch, weights) or library.get_pretrained_cfg(other, weights)
    if not tag:
        raise UnknownName(f"file, or weights of {arch}:", weights, tags)
    quick = bool(tag.get("quick_gelu"))
    if bool(library.get_model_config(arch).get("quick_gelu")) != quick:
        _refuse(library, arch, other, weights, quick)
    return arch, weights


def _refuse(library: Any, arch: str, other: str, weights: str, quick: bool) -> None:
    """Weights that were trained with QuickGELU are some points worse with GELU, silently."""
    # One tag lacks the note that its architecture, which has no other variant, makes.
    if other not in library.list_models():
        return
    names = ("QuickGELU", "GELU") if quick else ("GELU", "QuickGELU")
    raise InvalidInput(
        f"the weights {weights} were trained with {names[0]}, {arch} has {names[1]}; write openclip:{other}/{weights}"
    )
