"""Tiny random captioners of every family that `hf:` reads, in the hub's own format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

MARKS: Final = ("<s>", "<pad>", "</s>", "<unk>", "<image>", "<img>", "</img>", "<video>")
WORDS: Final = (
    "a",
    "photo",
    "of",
    "the",
    "red",
    "blue",
    "cat",
    "dog",
    "and",
    "two",
    "small",
    "what",
    "is",
    "it",
    "USER",
    "ASSISTANT",
)
NUMBERS: Final = {word: number for number, word in enumerate((*MARKS, *WORDS))}
IMAGE: Final = NUMBERS["<image>"]
CHAT: Final = (
    "{{ bos_token }}{% for message in messages %}USER {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %} ASSISTANT{% endif %}"
)

# Qwen's template has the marks around an image in it, InternVL's processor adds them.
_MARKED: Final = CHAT.replace("<image>", "<img> <image> </img>")
CHATS: Final = {"llava": CHAT, "internvl": CHAT, "qwen2": _MARKED, "qwen25": _MARKED, "qwen3": _MARKED}

VISION: Final = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
ENDS: Final = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
TEXT: Final = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": len(NUMBERS),
    "max_position_embeddings": 96,
    **ENDS,
}
LLAMA: Final = {"model_type": "llama", **TEXT}
ROPE: Final = {
    **TEXT,
    "num_key_value_heads": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
}
PLACES: Final = {
    "image_token_id": IMAGE,
    "video_token_id": NUMBERS["<video>"],
    "vision_start_token_id": NUMBERS["<img>"],
    "vision_end_token_id": NUMBERS["</img>"],
}


def tokenizer(*, places: bool = True) -> Any:
    """A fast tokenizer of a few words, with both ends and, perhaps, placeholders of images."""
    import transformers

    words = Tokenizer(models.WordLevel(NUMBERS, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=96,
        extra_special_tokens=_PLACES if places else {},
    )


_PLACES: Final = {
    "image_token": "<image>",
    "context_image_token": "<image>",
    "video_token": "<video>",
    "start_image_token": "<img>",
    "end_image_token": "</img>",
}


def _blip() -> Any:
    from transformers import BlipConfig, BlipForConditionalGeneration

    text = {**TEXT, "encoder_hidden_size": 16, "sep_token_id": 2, "eos_token_id": 6}
    config = BlipConfig(text_config=text, vision_config=VISION, image_text_hidden_size=12)
    return BlipForConditionalGeneration(config)


def _blip2(**text: Any) -> Any:
    from transformers import Blip2Config, Blip2ForConditionalGeneration

    opt = {"model_type": "opt", **TEXT, "ffn_dim": 32, "word_embed_proj_dim": 16}
    former = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "vocab_size": len(NUMBERS),
        "cross_attention_frequency": 1,
    }
    config = Blip2Config(
        vision_config=VISION,
        qformer_config=former,
        text_config=text or opt,
        num_query_tokens=3,
        image_token_index=IMAGE,
    )
    return Blip2ForConditionalGeneration(config)


def _blip2_t5() -> Any:
    return _blip2(
        model_type="t5",
        d_model=16,
        d_ff=32,
        d_kv=8,
        num_heads=2,
        num_layers=2,
        vocab_size=len(NUMBERS),
        decoder_start_token_id=1,
        **ENDS,
    )


def _git() -> Any:
    from transformers import GitConfig, GitForCausalLM

    return GitForCausalLM(GitConfig(vision_config=VISION, **TEXT))


def _florence() -> Any:
    from transformers import Florence2Config, Florence2ForConditionalGeneration

    vision = {
        "depths": [1, 1],
        "patch_size": [7, 3],
        "patch_stride": [4, 2],
        "patch_padding": [3, 1],
        "patch_prenorm": [False, True],
        "embed_dim": [8, 16],
        "num_heads": [2, 2],
        "num_groups": [2, 2],
        "window_size": 4,
        "projection_dim": 16,
    }
    text = {
        "model_type": "bart",
        "d_model": 16,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "vocab_size": len(NUMBERS),
        "max_position_embeddings": 96,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": None,
        **ENDS,
    }
    config = Florence2Config(vision_config=vision, text_config=text, image_token_id=IMAGE, **ENDS)
    made = Florence2ForConditionalGeneration(config)
    # As the published checkpoints have it.
    made.generation_config.update(num_beams=3, no_repeat_ngram_size=3, forced_bos_token_id=0)
    return made


def _llava() -> Any:
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    vision = {"model_type": "clip_vision_model", **VISION}
    config = LlavaConfig(vision_config=vision, text_config=LLAMA, image_token_index=IMAGE, **ENDS)
    return LlavaForConditionalGeneration(config)


def _internvl() -> Any:
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    config = InternVLConfig(vision_config=VISION, text_config=LLAMA, image_token_id=IMAGE, **ENDS)
    return InternVLForConditionalGeneration(config)


def _qwen2() -> Any:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    vision = {"depth": 2, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "patch_size": 4}
    made = Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=ROPE, vision_config=vision, **PLACES, **ENDS))
    # As the published checkpoints have it: random, unless one says otherwise.
    made.generation_config.update(do_sample=True, top_k=1, temperature=0.01, repetition_penalty=1.1)
    return made


def _qwen25() -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    vision = {
        "depth": 2,
        "hidden_size": 16,
        "out_hidden_size": 16,
        "num_heads": 2,
        "patch_size": 4,
        "intermediate_size": 32,
        "window_size": 16,
        "fullatt_block_indexes": [1],
    }
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(text_config=ROPE, vision_config=vision, **PLACES, **ENDS)
    )


def _qwen3() -> Any:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    vision = {
        "depth": 2,
        "hidden_size": 16,
        "out_hidden_size": 16,
        "num_heads": 2,
        "patch_size": 4,
        "intermediate_size": 32,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
    }
    return Qwen3VLForConditionalGeneration(
        Qwen3VLConfig(text_config={**ROPE, "head_dim": 8}, vision_config=vision, **PLACES, **ENDS)
    )


NETWORKS: Final[Mapping[str, Callable[[], Any]]] = {
    "blip": _blip,
    "blip2": _blip2,
    "blip2_t5": _blip2_t5,
    "git": _git,
    "florence": _florence,
    "llava": _llava,
    "internvl": _internvl,
    "qwen2": _qwen2,
    "qwen25": _qwen25,
    "qwen3": _qwen3,
}


def image_processor(kind: str) -> Any:
    """The image processor of a tiny checkpoint."""
    import transformers as t

    square = {"height": 32, "width": 32}
    if kind.startswith("blip"):
        return t.BlipImageProcessor(size=square)
    if kind.startswith("qwen"):
        size = {"shortest_edge": 16 * 16, "longest_edge": 48 * 48}
        return t.Qwen2VLImageProcessor(patch_size=4, size=size)
    if kind == "internvl":
        return t.GotOcr2ImageProcessor(size=square)
    if kind == "florence":
        return t.CLIPImageProcessor(size=square, do_center_crop=False, image_seq_length=17)
    return t.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=square)


def save(folder: Path, kind: str) -> Path:
    """Writes a tiny checkpoint of a kind into a folder of that name."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = NETWORKS[kind]()
        with torch.no_grad():
            for weight in network.parameters():
                # Large enough that words depend on what is seen.
                if weight.dim() > 1:
                    weight.normal_(std=0.5)
    network.save_pretrained(folder / kind)
    tokenizer(places=not kind.startswith("blip")).save_pretrained(folder / kind)
    image_processor(kind).save_pretrained(folder / kind)
    if kind in CHATS:
        (folder / kind / "chat_template.jinja").write_text(CHATS[kind])
    return folder / kind
