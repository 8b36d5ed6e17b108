"""The family ``imagebind``: the published checkpoint, loaded unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from secondlook.errors import InvalidInput, UnknownName
from secondlook.ledger import tally
from secondlook.models.base import Embedder, ModelFamily
from secondlook.models.families.imagebind.network import READINGS, SIDE, Arguments, ImageBindNetwork
from secondlook.models.io import published
from secondlook.models.io.preprocessing import centered
from secondlook.models.text import bpe
from secondlook.registry import register

Signal = Literal["audio", "depth", "thermal", "imu"]


class ImageBindEmbedder(Embedder):
    """Images, texts and four kinds of signal to one space.

    Attributes:
        size: images of another one are resized, bicubic, and cropped to the middle.
        signals: the shape of one clip of each signal.
    """

    size = (SIDE, SIDE)

    def __init__(
        self, name: str, network: ImageBindNetwork, sizes: Arguments, tokenizer: bpe.BytePairTokenizer
    ) -> None:
        self.name, self.network, self.modules = name, network, (network,)
        self.tokenizer, self.preprocessing = tokenizer, centered(SIDE)
        self.signals: dict[Signal, tuple[int, ...]] = {
            "audio": (1, sizes.audio_num_mel_bins, sizes.audio_target_len),
            "depth": (1, SIDE, SIDE),
            "thermal": (1, SIDE, SIDE),
            "imu": (6, READINGS),
        }

    def encode_image(self, x: Tensor) -> Tensor:
        """Unit vectors ``[B, D]`` of ``[B, 3, H, W]`` in [0, 1]."""
        out: Tensor = self.network("vision", self.preprocessing(x))
        return out

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Vectors ``[B, D]`` as long as the learned scale, at most 100."""
        device = next(self.network.parameters()).device
        out: Tensor = self.network("text", self.tokenizer.encode(texts).to(device))
        return out

    def encode(self, modality: Signal, x: Tensor) -> Tensor:
        """Vectors ``[B, D]`` of a signal, as long as the network makes them; a pass is counted.

        Args:
            modality: which.
            x: the signal, normalized. ``audio``: log-mel spectrograms ``[B, clips, 1, 128, 204]``
                as ``mel_clips`` of :mod:`~secondlook.models.families.imagebind.mel` makes
                them, or one without ``clips``. ``depth``: disparity ``[B, 1, 224, 224]``,
                ``thermal``: heat ``[B, 1, 224, 224]``, each on the published loader's
                scale. ``imu``: 5 s of accelerometer and gyroscope ``[B, 6, 2000]``.
                Depth and thermal may have clips too.

        Raises:
            UnknownName: no such signal; images go to ``embed``, texts to ``embed_text``.
            InvalidInput: another shape, or NaN.
        """
        self._check(modality, x)
        out: Tensor = self.network(modality, tally(self.name, x))
        return out

    def _check(self, modality: Signal, x: Tensor) -> None:
        if modality not in self.signals:
            raise UnknownName(f"signal of {self.name}:", modality, self.signals)
        shape, clips = self.signals[modality], modality != "imu"
        fits = x.shape[-len(shape) :] == shape and x.dim() - len(shape) in (1, 1 + clips)
        if not fits or not x.is_floating_point():
            wanted = ", ".join(map(str, shape))
            raise InvalidInput(
                f"{modality} of {self.name} is {x.dtype} {tuple(x.shape)}; "
                f"give floats [B, {wanted}]" + clips * f" or [B, clips, {wanted}]"
            )
        if not torch.isfinite(x.detach()).all():
            raise InvalidInput(f"{modality} of {self.name} has NaN or infinite values")


@register("model", "imagebind")
@dataclass(frozen=True, kw_only=True)
class ImageBind(ModelFamily):
    """``imagebind:PATH`` reads ImageBind's published checkpoint: six modalities in one space.

    Beside it must lie CLIP's ``bpe_simple_vocab_16e6.txt.gz``. A checkpoint of another size than
    ``imagebind_huge`` is described by a JSON of the same name, with the constructor's arguments.

    Attributes:
        name: the path of the ``.pth`` or ``.safetensors`` file.
        vocabulary: where the vocabulary is, if not beside it.
    """

    vocabulary: Path | None = None

    def load(self) -> ImageBindEmbedder:
        """The model at the path, in fp32.

        Raises:
            InvalidInput: a file is missing, damaged, or not what the network takes.
        """
        path = self.path
        weights, sizes = published.read(path), published.arguments(path, Arguments())
        words = published.beside(path, bpe.VOCABULARY, self.vocabulary, "the texts' vocabulary")
        with torch.device("meta"):
            network = ImageBindNetwork(sizes)
        network = published.pour(network, weights, path)
        full = f"imagebind:{self.name}"
        return ImageBindEmbedder(full, network, sizes, bpe.BytePairTokenizer.read(words))
