"""The network of ImageBind, whose state dict is the published one, name by name."""

from __future__ import annotations

from typing import Final, Literal, get_args

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.models.io.published import refitted

Modality = Literal["vision", "text", "audio", "depth", "thermal", "imu"]
MODALITIES: Final[tuple[Modality, ...]] = get_args(Modality)


class Arguments(BaseModel):
    """What ``ImageBindModel`` is called with; the defaults are those of ``imagebind_huge``.

    Rates of ``drop_path`` are read and have no effect: they act in training alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    video_frames: int = 2
    kernel_size: tuple[int, int, int] = (2, 14, 14)
    audio_kernel_size: int = 16
    audio_stride: int = 10
    out_embed_dim: int = 1024
    vision_embed_dim: int = 1280
    vision_num_blocks: int = 32
    vision_num_heads: int = 16
    audio_embed_dim: int = 768
    audio_num_blocks: int = 12
    audio_num_heads: int = 12
    audio_num_mel_bins: int = 128
    audio_target_len: int = 204
    audio_drop_path: float = 0.1
    text_embed_dim: int = 1024
    text_num_blocks: int = 24
    text_num_heads: int = 16
    depth_embed_dim: int = 384
    depth_kernel_size: int = 16
    depth_num_blocks: int = 12
    depth_num_heads: int = 8
    depth_drop_path: float = 0.0
    thermal_embed_dim: int = 768
    thermal_kernel_size: int = 16
    thermal_num_blocks: int = 12
    thermal_num_heads: int = 12
    thermal_drop_path: float = 0.0
    imu_embed_dim: int = 512
    imu_kernel_size: int = 8
    imu_num_blocks: int = 6
    imu_num_heads: int = 8
    imu_drop_path: float = 0.7

    def tower(self, modality: Modality) -> tuple[int, int, int]:
        """Width, blocks and heads of the trunk of ``modality``."""
        fields = (f"{modality}_{size}" for size in ("embed_dim", "num_blocks", "num_heads"))
        width, blocks, heads = (getattr(self, field) for field in fields)
        return width, blocks, heads


EPS = 1e-6
"""Of every layer norm but those of the stems."""


class Mlp(nn.Module):
    """Four times as wide inside, with an exact GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class Block(nn.Module):
    """Attention, then an MLP; ``bias_kv`` adds one learned key and value to the sequence."""

    def __init__(self, width: int, heads: int, bias_kv: bool) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, add_bias_kv=bias_kv, batch_first=True)
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        seen = self.norm_1(x)
        mixed, _ = self.attn(seen, seen, seen, need_weights=False, attn_mask=mask)
        x = x + mixed
        out: Tensor = x + self.mlp(self.norm_2(x))
        return out


class Trunk(nn.Module):
    """``[B, L, D] -> [B, L, D]``; ``mask`` ``[L, L]`` is added to the attention's scores."""

    def __init__(self, width: int, blocks: int, heads: int, *, bias_kv: bool = False, pre_norm: bool = False) -> None:
        super().__init__()
        first = nn.LayerNorm(width, eps=EPS) if pre_norm else nn.Identity()
        self.pre_transformer_layer = nn.Sequential(first)
        self.blocks = nn.ModuleList(Block(width, heads, bias_kv) for _ in range(blocks))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.pre_transformer_layer(x)
        for block in self.blocks:
            x = block(x, mask)
        return x


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


LONGEST = 100.0
"""No scale is larger."""


class First(nn.Module):
    """The class token's state, ``[B, L, D] -> [B, D]``."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


class TextHead(nn.Module):
    """The state at the end mark, which is the largest of the token ids, projected."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.LayerNorm(width, eps=EPS), nn.Linear(width, dim, bias=False))

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        out: Tensor = self.proj(x[torch.arange(len(x), device=x.device), ids.argmax(-1)])
        return out


class Unit(nn.Module):
    """Vectors of length one."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)


class Scale(nn.Module):
    """Stretches unit vectors; ``learned`` where training could change by how much."""

    log_logit_scale: Tensor

    def __init__(self, *, learned: bool) -> None:
        super().__init__()
        if learned:
            self.log_logit_scale = nn.Parameter(torch.empty(()))
        else:
            self.register_buffer("log_logit_scale", torch.empty(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.log_logit_scale.exp().clamp(max=LONGEST)


def heads(sizes: Arguments) -> dict[str, nn.Module]:
    """The head of each modality."""
    return {name: _head(name, sizes.tower(name)[0], sizes.out_embed_dim) for name in MODALITIES}


def _head(modality: Modality, width: int, dim: int) -> nn.Module:
    if modality == "text":
        return TextHead(width, dim)
    norm, project = nn.LayerNorm(width, eps=EPS), nn.Linear(width, dim, bias=False)
    # The IMU's head had dropout in training, which moves its projection up by one.
    extra = [nn.Dropout(0.5)] if modality == "imu" else []
    return nn.Sequential(norm, First(), *extra, project)


def scales() -> dict[str, nn.Module]:
    """What each modality's vectors go through last."""
    return {name: _scale(name) for name in MODALITIES}


def _scale(modality: Modality) -> nn.Sequential:
    if modality == "vision":
        return nn.Sequential(Unit())
    return nn.Sequential(Unit(), Scale(learned=modality == "text"))


_CLIPS: Final = 5


class ImageBindNetwork(nn.Module):
    """One stem, trunk and head a modality, into one space (arXiv 2305.05665, section 3)."""

    def __init__(self, sizes: Arguments) -> None:
        super().__init__()
        self.modality_preprocessors = nn.ModuleDict(stems(sizes))
        self.modality_trunks = nn.ModuleDict(
            {
                name: Trunk(*sizes.tower(name), bias_kv=name not in ("vision", "text"), pre_norm=name == "vision")
                for name in MODALITIES
            }
        )
        self.modality_heads = nn.ModuleDict(heads(sizes))
        self.modality_postprocessors = nn.ModuleDict(scales())

    def head(self, modality: Modality, x: Tensor) -> Tensor:
        """What the head says of each clip, before any normalization, ``[B * clips, D]``."""
        x = x.flatten(0, 1) if x.dim() >= _CLIPS else x
        stem, head = self.modality_preprocessors[modality], self.modality_heads[modality]
        mask = stem.mask if modality == "text" else None
        hidden = self.modality_trunks[modality](stem(x), mask)
        out: Tensor = head(hidden, x) if modality == "text" else head(hidden)
        return out

    def forward(self, modality: Modality, x: Tensor) -> Tensor:
        """Vectors ``[B, D]``: unit ones, stretched by the modality's scale.

        An input of five or more dimensions has clips in the second; their vectors are averaged
        after the stretch, and the average is left as long as it comes out.
        """
        out: Tensor = self.modality_postprocessors[modality](self.head(modality, x))
        return out.unflatten(0, x.shape[:2]).mean(1) if x.dim() >= _CLIPS else out
