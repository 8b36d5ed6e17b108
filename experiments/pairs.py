"""Images with their captions, altered by an attack and searched for, both ways."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from secondlook import registry
from secondlook.attacks.pairs import AlteredPairs, Captions, Pairs
from secondlook.metrics.ranks import ranks
from secondlook.metrics.retrieval import Groups
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.statistics import Interval
from secondlook.tasks.caption_truth import facts
from secondlook.threat import LEVELS, Threat

Ranks = tuple[Groups, Groups]
"""Image to text and text to image; ranks from 1 on, grouped by image."""


def pairs_of(source: Any) -> Pairs:
    """All images of a source of scenes with their captions, and with what is true of each."""
    captioned = source.captioned()
    rows, known = range(len(captioned)), facts(captioned)
    images = captioned.read(rows, None).images
    truths = tuple(partial(known.preserves, row) for row in rows) if known else ()
    return Pairs(images, tuple(captioned.captions(row) for row in rows), truths)


def attacked(name: str, model: Embedder, pairs: Pairs, eps: float, keys: Keys, **settings: Any) -> AlteredPairs:
    """The pairs after an attack on both sides; what is not set is the attack's default."""
    attack = registry.build("pair attack", name, settings)
    altered: AlteredPairs = attack(model, pairs, Threat(eps=eps, grid=255), keys.fold("attack", name))
    return altered


@torch.no_grad()
def searched(model: Embedder, images: Tensor, captions: Captions) -> Ranks:
    """Ranks of each image's captions, and of the image for each of them."""
    image_vectors = torch.cat([model.embed(part) for part in images.split(100)])
    text_vectors = model.embed_text([text for texts in captions for text in texts])
    each = len(captions[0])
    owned = [range(row * each, (row + 1) * each) for row in range(len(images))]
    by_image = ranks(image_vectors, text_vectors, owned)[:, None]
    owner = [[row // each] for row in range(len(text_vectors))]
    by_text = ranks(text_vectors, image_vectors, owner)
    return by_image.tolist(), by_text.view(-1, each).tolist()


def percent(interval: Interval | list[float], digits: int = 1) -> str:
    """A share with its interval, in percent.

    >>> percent([0.5, 0.404, 0.596])
    '50.0 [40, 60]'
    """
    value, low, high = (100 * part for part in interval)
    return f"{value:.{digits}f} [{low:.0f}, {high:.0f}]"


def radius(eps: float) -> str:
    """A radius in 255ths.

    >>> radius(2 / 255), radius(0)
    ('2/255', 'clean')
    """
    return f"{eps * LEVELS:g}/255" if eps else "clean"
