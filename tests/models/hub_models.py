"""Tiny random checkpoints of every family that `hf:` reads, in the hub's own format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

# The letters are for SigLIP 2, whose tokenizer knows of no word that it cannot put together.
WORDS: Final = ("a", "photo", "of", "the", "red", "blue", "cat", "dog", "and", "two", "small", "b", "r")
VOCABULARY: Final = {word: number for number, word in enumerate(("<s>", "<pad>", "</s>", "<unk>", *WORDS))}

VISION: Final = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
TEXT: Final = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": len(VOCABULARY),
    "max_position_embeddings": 24,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
}
ROUND: Final = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
SQUARE: Final = {"size": {"height": 32, "width": 32}}


def tokenizer(**settings: Any) -> Any:
    """A fast tokenizer of a few words, with a beginning and an end."""
    import transformers

    words = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>", **settings
    )


def _clip() -> Any:
    from transformers import CLIPConfig, CLIPModel

    return CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=12))


def _siglip() -> Any:
    from transformers import SiglipConfig, SiglipModel

    text = {**TEXT, "max_position_embeddings": 64, "projection_size": 16}
    return SiglipModel(SiglipConfig(text_config=text, vision_config=VISION))


def _siglip2() -> Any:
    from transformers import Siglip2Config, Siglip2Model

    text = {**TEXT, "max_position_embeddings": 64, "projection_size": 16}
    vision = {**VISION, "num_patches": 16}
    return Siglip2Model(Siglip2Config(text_config=text, vision_config=vision))


def _align() -> Any:
    from transformers import AlignConfig, AlignModel

    vision = {
        "image_size": 32,
        "width_coefficient": 0.1,
        "depth_coefficient": 0.1,
        "hidden_dim": 12,
        "kernel_sizes": [3, 3],
        "in_channels": [16, 8],
        "out_channels": [8, 12],
        "depthwise_padding": [],
        "strides": [1, 2],
        "num_block_repeats": [1, 1],
        "expand_ratios": [1, 2],
    }
    config = AlignConfig(text_config={**TEXT, "max_position_embeddings": 64}, vision_config=vision, projection_dim=8)
    return AlignModel(config)


def _blip() -> Any:
    from transformers import BlipConfig, BlipForImageTextRetrieval

    config = BlipConfig(
        text_config={**TEXT, "encoder_hidden_size": 16},
        # Its own default is 1e-10, and such a network sees nothing.
        vision_config={**VISION, "initializer_range": 0.02},
        image_text_hidden_size=12,
    )
    return BlipForImageTextRetrieval(config)


def _altclip() -> Any:
    from transformers import AltCLIPConfig, AltCLIPModel

    text = {**TEXT, "project_dim": 16}
    config = AltCLIPConfig(text_config=text, vision_config=VISION, projection_dim=12)
    return AltCLIPModel(config)


def _chinese_clip() -> Any:
    from transformers import ChineseCLIPConfig, ChineseCLIPModel

    config = ChineseCLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=12)
    return ChineseCLIPModel(config)


def _clap() -> Any:
    from transformers import ClapConfig, ClapModel

    audio = {
        "spec_size": 64,
        "num_mel_bins": 16,
        "patch_size": 4,
        "patch_stride": [4, 4],
        "window_size": 4,
        "hidden_size": 16,
        "patch_embeds_hidden_size": 8,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "num_classes": 4,
        "enable_fusion": True,
    }
    return ClapModel(ClapConfig(text_config=TEXT, audio_config=audio, projection_dim=12))


NETWORKS: Final[Mapping[str, Callable[[], Any]]] = {
    "clip": _clip,
    "siglip": _siglip,
    "siglip2": _siglip2,
    "align": _align,
    "blip": _blip,
    "altclip": _altclip,
    "chinese_clip": _chinese_clip,
    "clap": _clap,
}


def processor(kind: str) -> Any:
    """The image processor, or feature extractor, of a tiny checkpoint."""
    import transformers as t

    if kind == "clap":
        return t.ClapFeatureExtractor(
            feature_size=16, sampling_rate=4000, fft_window_size=64, hop_length=32, max_length_s=1, frequency_max=2000
        )
    makers: dict[str, Callable[[], Any]] = {
        "clip": lambda: t.CLIPImageProcessor(**ROUND),
        "altclip": lambda: t.CLIPImageProcessor(**ROUND),
        "chinese_clip": lambda: t.ChineseCLIPImageProcessor(**ROUND),
        "siglip": lambda: t.SiglipImageProcessor(**SQUARE),
        "blip": lambda: t.BlipImageProcessor(**SQUARE),
        "siglip2": lambda: t.Siglip2ImageProcessor(patch_size=8, max_num_patches=16),
        # As ALIGN has it: larger than the crop, to [-1, 1] by a factor and an offset alone.
        "align": lambda: t.EfficientNetImageProcessor(
            size={"height": 38, "width": 38},
            crop_size={"height": 32, "width": 32},
            do_center_crop=True,
            rescale_factor=1 / 127.5,
            rescale_offset=True,
            do_normalize=False,
            include_top=False,
            resample=2,
        ),
    }
    return makers[kind]()


def save(folder: Path, kind: str, lively: float = 1.0) -> Path:
    """Writes a tiny checkpoint of a kind into a folder of that name.

    As they are drawn, weights are so small that some kinds hardly look at their inputs; ``lively``
    multiplies them.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = NETWORKS[kind]()
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(lively if weight.dim() > 1 else 1.0)
    network.save_pretrained(folder / kind)
    tokenizer(model_max_length=77).save_pretrained(folder / kind)
    processor(kind).save_pretrained(folder / kind)
    return folder / kind
