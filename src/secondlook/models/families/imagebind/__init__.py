"""ImageBind (Girdhar et al. 2023, arXiv 2305.05665): six modalities in one space."""

from secondlook.models.families.imagebind.adapter import ImageBind, ImageBindEmbedder
from secondlook.models.families.imagebind.mel import mel_clips

__all__ = ["ImageBind", "ImageBindEmbedder", "mel_clips"]
