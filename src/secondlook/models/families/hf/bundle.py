"""The parts of a checkpoint of transformers: network, tokenizer, and what prepares its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from secondlook.errors import InvalidInput
from secondlook.models.io.hub import SAFE, Checkpoint, extra
from secondlook.models.io.preprocessing import Resolution

_VOCABULARIES: Final = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
)
_PROCESSORS: Final = ("preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A checkpoint whose parts are loaded one by one.

    Attributes:
        name: what the model is called, in full.
        checkpoint: where its files are.
        resolution: what an attack on its images perturbs.
    """

    name: str
    checkpoint: Checkpoint
    resolution: Resolution = "input"

    def network(self, kind: str) -> Any:
        """The network of a class of transformers, in fp32 and eval mode, frozen.

        Raises:
            InvalidInput: weights are missing, damaged, or those of another network.
        """
        file = self.checkpoint.weighed()
        made, found = self.checkpoint.made(
            getattr(extra("transformers", "hf"), kind).from_pretrained,
            file,
            output_loading_info=True,
            use_safetensors=file in SAFE,
        )
        wrong = {*found["missing_keys"], *(entry[0] for entry in found["mismatched_keys"])}
        if wrong:
            # transformers would fill them in with random numbers.
            raise InvalidInput(
                f"{self.checkpoint.source} has no weights for {len(wrong)} parameters of {kind}, "
                f"{min(wrong)} among them; name a checkpoint that was trained as {kind}"
            )
        return made.float().eval().requires_grad_(False)

    def tokenizer(self) -> Any:
        """The tokenizer.

        Raises:
            InvalidInput: a file of it is missing or damaged.
        """
        # The settings come first: what is in the cache alone might lack them.
        self.checkpoint.find("tokenizer_config.json", *_VOCABULARIES)
        self.checkpoint.find(*_VOCABULARIES)
        load = extra("transformers", "hf").AutoTokenizer.from_pretrained
        return self.checkpoint.made(load, "tokenizer.json")

    def image_processor(self) -> Any:
        """The image processor, asked for its settings alone.

        Raises:
            InvalidInput: its file is missing or damaged.
        """
        load = extra("transformers", "hf").AutoImageProcessor.from_pretrained
        return self.checkpoint.made(load, self.checkpoint.find(*_PROCESSORS)[0])

    def feature_extractor(self) -> Any:
        """What makes spectrograms, asked for its settings and filters alone.

        Raises:
            InvalidInput: its file is missing or damaged.
        """
        load = extra("transformers", "hf").AutoFeatureExtractor.from_pretrained
        return self.checkpoint.made(load, self.checkpoint.find(*_PROCESSORS)[0])
