"""Networks of transformers as embedders, captioners and masked language models."""

from secondlook.models.families.hf.family import HuggingFace

__all__ = ["HuggingFace"]
