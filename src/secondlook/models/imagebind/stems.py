"""From a signal to tokens, one stem a modality, under the published names of their parts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secondlook.models.imagebind.arguments import Arguments
from secondlook.models.positions import refitted

SIDE = 224
"""Height and width of images, depth maps and thermal maps."""
READINGS = 2000
"""Readings of an IMU, of six channels each, in five seconds."""
CONTEXT, WORDS = 77, 49408


class Frames(nn.Module):
    """A still image ``[B, 3, H, W]`` as a film ``[B, 3, T, H, W]`` of ``T`` equal frames."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return x if x.dim() == 5 else x.unsqueeze(2).expand(-1, -1, self.count, -1, -1)


class Stem(nn.Module):
    """A projection and a layer norm."""

    def __init__(self, proj: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.proj, self.norm_layer = proj, norm

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm_layer(self.project(x))
        return out

    def project(self, x: Tensor) -> Tensor:
        """One token for each row of ``x``."""
        out: Tensor = self.proj(x)
        return out


class PatchStem(Stem):
    """A strided convolution and a layer norm."""

    def project(self, x: Tensor) -> Tensor:
        """One token for each place that the convolution stops at."""
        return super().project(x).flatten(2).transpose(1, 2)


class Positions(nn.Module):
    """A learned position for each patch and the class token; refitted where the grid differs."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.empty(1, count + 1, width))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + refitted(self.pos_embed, tokens.shape[1] - 1)


class PatchTokens(nn.Module):
    """Patches of an image or a map, a class token before them; ``place`` is the stem's name."""

    def __init__(self, place: str, stem: PatchStem, count: int, width: int) -> None:
        super().__init__()
        self.place = place
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.add_module(place, stem)
        self.pos_embedding_helper = Positions(count, width)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.get_submodule(self.place)(x)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], dim=1)
        out: Tensor = self.pos_embedding_helper(tokens)
        return out


class WordTokens(nn.Module):
    """Token ids ``[B, 77]`` to ``[B, 77, D]``; ``mask`` lets no word see a later one."""

    mask: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.empty(1, CONTEXT, width))
        self.token_embedding = nn.Embedding(WORDS, width)
        self.register_buffer("mask", torch.empty(CONTEXT, CONTEXT))

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.token_embedding(ids) + self.pos_embed
        return out


class ReadingTokens(nn.Module):
    """Readings ``[B, 6, T]`` to one token for each ``kernel`` of them, a class token before."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.pos_embed = nn.Parameter(torch.empty(1, READINGS // kernel + 1, width))
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.imu_stem = Stem(nn.Linear(6 * kernel, width, bias=False), nn.LayerNorm(width))

    def forward(self, x: Tensor) -> Tensor:
        spans = x.unfold(-1, self.kernel, self.kernel).transpose(1, 2).flatten(2)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), self.imu_stem(spans)], dim=1)
        return tokens + self.pos_embed


def stems(sizes: Arguments) -> dict[str, nn.Module]:
    """The stem of each modality."""
    return {
        "vision": _vision(sizes),
        "text": WordTokens(sizes.text_embed_dim),
        "audio": _audio(sizes),
        "depth": _map("depth_stem", sizes.depth_embed_dim, sizes.depth_kernel_size),
        "thermal": _map("rgbt_stem", sizes.thermal_embed_dim, sizes.thermal_kernel_size),
        "imu": ReadingTokens(sizes.imu_embed_dim, sizes.imu_kernel_size),
    }


def _vision(sizes: Arguments) -> PatchTokens:
    kernel, width = sizes.kernel_size, sizes.vision_embed_dim
    conv = nn.Conv3d(3, width, kernel, kernel, bias=False)
    stem = PatchStem(nn.Sequential(Frames(sizes.video_frames), conv), nn.Identity())
    count = (sizes.video_frames // kernel[0]) * (SIDE // kernel[1]) * (SIDE // kernel[2])
    return PatchTokens("rgbt_stem", stem, count, width)


def _audio(sizes: Arguments) -> PatchTokens:
    kernel, stride, width = sizes.audio_kernel_size, sizes.audio_stride, sizes.audio_embed_dim
    lengths = (sizes.audio_num_mel_bins, sizes.audio_target_len)
    high, wide = ((length - kernel) // stride + 1 for length in lengths)
    return PatchTokens("rgbt_stem", _flat(width, kernel, stride), high * wide, width)


def _map(place: str, width: int, kernel: int) -> PatchTokens:
    return PatchTokens(place, _flat(width, kernel, kernel), (SIDE // kernel) ** 2, width)


def _flat(width: int, kernel: int, stride: int) -> PatchStem:
    return PatchStem(nn.Conv2d(1, width, kernel, stride, bias=False), nn.LayerNorm(width))
