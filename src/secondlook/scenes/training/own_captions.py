"""A masked language model of one's own captions: read, divided, and trained on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from secondlook import registry
from secondlook.data import load
from secondlook.data.files import lines, table
from secondlook.errors import InvalidInput
from secondlook.places import at_home
from secondlook.progress import Tick
from secondlook.randomness import Keys
from secondlook.scenes.models.masked_lm import CaptionMlmNetwork
from secondlook.scenes.tokenizer import PAD, UNK
from secondlook.scenes.training.loop import Loss, Recipe, Training
from secondlook.scenes.training.text_losses import masked_accuracy, masked_cross_entropy
from secondlook.scenes.training.train import round_to_half, write_model

MIN_COUNT = 3
"""How often a word must come to be one of the vocabulary."""
_HELD_OUT = 20


@dataclass(frozen=True, kw_only=True)
class CaptionTexts:
    """Captions, and the images that they are of.

    Attributes:
        texts: one a caption.
        images: for each the name of its image; the caption itself where none is named.
    """

    texts: tuple[str, ...]
    images: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def keep(self, wanted: Sequence[bool]) -> CaptionTexts:
        """Some of them."""
        rows = [row for row, want in enumerate(wanted) if want]
        return CaptionTexts(
            texts=tuple(self.texts[row] for row in rows), images=tuple(self.images[row] for row in rows)
        )


def read(name: str) -> CaptionTexts:
    """Captions by name: a file of captions, or any data with captions.

    Args:
        name: a text file with a caption a line, a table with the columns ``image,caption``, or
            ``FAMILY:REST``. Images need not be there.

    Raises:
        InvalidInput: there is no such file, or it or the data has no captions.
        UnknownName: there is no such family.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return _file(path)
    if ":" not in name:
        raise InvalidInput(
            f"there is no file {name}; name a text file with a caption a line, a table with "
            "image,caption, or data with captions, such as flickr8k:FOLDER"
        )
    source = load(name).captioned()
    return CaptionTexts(texts=tuple(source.texts), images=tuple(source.ids[row] for row in source.owner))


def _file(path: Path) -> CaptionTexts:
    first = lines(path, "a caption a line, or a table with image,caption")[0].values["text"]
    if {"image", "caption"} <= {name.strip() for name in first.split(",")}:
        rows = [line.values for line in table(path, ("image", "caption"))]
        return CaptionTexts(texts=tuple(row["caption"] for row in rows), images=tuple(row["image"] for row in rows))
    texts = tuple(line.values["text"] for line in lines(path, "a caption a line"))
    return CaptionTexts(texts=texts, images=texts)


def without(texts: CaptionTexts, others: CaptionTexts) -> CaptionTexts:
    """``texts`` without the images of ``others``, and without captions that say what theirs do."""
    images, said = set(others.images), {plain(text) for text in others.texts}
    pairs = zip(texts.images, texts.texts, strict=True)
    return texts.keep([image not in images and plain(text) not in said for image, text in pairs])


def hold_out(texts: CaptionTexts, seed: int) -> CaptionTexts:
    """The captions of every twentieth image, drawn by its name."""
    names = list(dict.fromkeys(texts.images))
    order = Keys.of(seed, names).fold("held out").order()
    chosen = {names[row] for row in order[: max(1, len(names) // _HELD_OUT)]}
    return texts.keep([image in chosen for image in texts.images])


def plain(text: str) -> str:
    """The words of a text, as the tokenizer splits them."""
    return " ".join(_words(text))


def vocabulary(texts: Sequence[str], floor: int = MIN_COUNT) -> tuple[str, ...]:
    """The words that come ``floor`` times or more, sorted.

    Raises:
        InvalidInput: there is none.
    """
    times = Counter(word for text in texts for word in _words(text))
    found = tuple(sorted(word for word, count in times.items() if count >= floor))
    if not found:
        raise InvalidInput(f"no word comes {floor} times or more in {len(texts)} captions; give more captions")
    return found


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


NAME: Final = "captions-mlm"
RECIPE: Final = Recipe(steps=5000, batch=96, rate=2e-3, seed=10, average=0.995)
SHARE: Final = 0.3
"""Share of the words that are masked: a small model learns faster by more than BERT's
(Wettig et al. 2023, arXiv 2202.08005)."""


def train_captions(
    data: str, out: Path, *, test: str, device: str, tick: Tick, recipe: Recipe = RECIPE
) -> dict[str, Any]:
    """Trains ``out/captions-mlm`` from the captions of ``data``.

    A killed training goes on from its checkpoint, which is removed at the end.

    Args:
        data: captions by name: see :func:`secondlook.scenes.training.own_captions.read`.
        out: the folder of weights and card; the vocabulary is in the card.
        test: other captions to measure on; their images, and captions that say the same, are left
            out of the training. Empty holds out the captions of every twentieth image.
        device: where to train.
        tick: is texts of progress.
        recipe: how long and how fast.

    Returns:
        The model card.

    Raises:
        InvalidInput: ``data`` is empty, has no captions or too few, or nothing of it is left.
    """
    if not data:
        raise InvalidInput(f"{NAME} is made from captions; add --data FILE or --data FAMILY:REST")
    texts = read(data)
    held_out = read(test) if test else hold_out(texts, recipe.seed)
    used = without(texts, held_out)
    if not len(used):
        raise InvalidInput(f"{test or data} leaves no caption of {data} to train on; give others")
    words = vocabulary(used.texts)
    network = _network(words, recipe.seed, device)
    ids, test_ids = _numbers(network, used), _numbers(network, held_out)
    if not len(test_ids):
        raise InvalidInput(f"{test or data} has no caption with a known word to measure on")
    of = registry.digest([words, ids.tolist()])
    training = Training(network, replace(recipe, images=len(ids)), out / f"{NAME}.checkpoint", data=of)
    training.run(_loss(network, ids, device), len(ids), tick)
    weights = round_to_half(network)
    measured = {**masked_accuracy(network, test_ids), "n": len(test_ids)}
    return write_model(
        training,
        weights,
        measured,
        out / NAME,
        {
            "name": NAME,
            "role": "masked language model",
            "architecture": {"network": CaptionMlmNetwork.__name__, "words": list(words)},
            "data": f"{len(ids)} captions of {data}; words that come {MIN_COUNT} times or more",
            "command": at_home(f"secondlook train {NAME} --data {data}{f' --test {test}' if test else ''}"),
            "measured_on": f"a gap in each of {len(test_ids)} captions of "
            f"{test or 'every twentieth image'}, none of them trained on",
        },
    )


def _numbers(network: CaptionMlmNetwork, texts: CaptionTexts) -> Tensor:
    """Tokens ``[B, L]`` of the captions that have a known word."""
    ids = torch.from_numpy(network.tokenizer.encode(texts.texts, network.context))
    ids = ids[(ids > UNK).any(1)]
    return ids[:, : int((ids != PAD).sum(1).max())] if len(ids) else ids


def _loss(network: CaptionMlmNetwork, captions: Tensor, device: str) -> Loss:
    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        ids = captions[rows]
        ids = ids[:, : int((ids != PAD).sum(1).max())]
        return masked_cross_entropy(network, ids, generator, device, SHARE)

    return loss


def _network(words: tuple[str, ...], seed: int, device: str) -> CaptionMlmNetwork:
    """A fresh network; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # noqa: TID251 - forked, and put back
        return CaptionMlmNetwork(words=words).to(device)
