"""ALBEF (Li et al. 2021, arXiv 2107.07651), and TCL, which shares its network."""

from secondlook.models.families.albef.adapter import Albef, AlbefEmbedder

__all__ = ["Albef", "AlbefEmbedder"]
