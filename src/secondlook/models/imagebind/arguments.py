"""The sizes of an ImageBind, under the names of the published constructor."""

from __future__ import annotations

from typing import Final, Literal, get_args

from pydantic import BaseModel, ConfigDict

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
