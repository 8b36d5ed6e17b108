"""How often the truth loses rank 1 under attacks on scenes and their captions, as Markdown.

Every image and every caption is altered at once, on ``--victim``, and searched for among the other
altered ones, both by the victim and by ``--other``, which the attack never saw.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from secondlook import registry
from secondlook.attacks.pairs import AlteredPairs, Captions, Pairs
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.scenes.dataset import batch
from secondlook.statistics import Interval
from secondlook.tasks.retrieval_metrics import Groups, asr
from secondlook.tasks.retrieval_ranks import ranks
from secondlook.threat import LEVELS, Threat, fraction

ROWS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("typos", "typos", {}),
    ("EDA", "eda", {}),
    ("words by gradient", "gradient", {}),
    ("words", "words", {}),
    ("words, every place", "words", {"visit": "every"}),
    ("PGD, from itself", "pair-pgd", {"guide": "image"}),
    ("PGD, from its captions", "pair-pgd", {}),
    ("Sep-Attack", "sep", {}),
    ("Co-Attack", "co", {}),
    ("SGA", "sga", {}),
    ("SGA, made to transfer", "sga", {"momentum": 1.0, "diversity": 0.5}),
    ("alternating", "alternating", {}),
)
Ranks = tuple[Groups, Groups]


def scenes(count: int) -> Pairs:
    """The first scenes of the test split with their five captions."""
    made = batch(0, "test", range(count))
    images = torch.from_numpy(made.images).permute(0, 3, 1, 2).float() / LEVELS
    return Pairs(images.contiguous(), tuple(tuple(texts) for texts in made.captions))


@torch.no_grad()
def searched(model: Embedder, images: Tensor, captions: Captions) -> Ranks:
    """Ranks of each image's captions, and of the image for each of them, grouped by image."""
    shown = torch.cat([model.embed(part) for part in images.split(100)])
    told = model.embed_text([text for texts in captions for text in texts])
    each = len(captions[0])
    owned = [range(row * each, (row + 1) * each) for row in range(len(images))]
    by_image = ranks(shown, told, owned)[:, None]
    by_text = ranks(told, shown, [[row // each] for row in range(len(told))])
    return by_image.tolist(), by_text.view(-1, each).tolist()


def shown(interval: Interval) -> str:
    """A share with its interval, in per cent."""
    value, low, high = (100 * part for part in interval)
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def line(name: str, made: AlteredPairs, models: Sequence[Embedder], clean: Sequence[Ranks]) -> str:
    """A row: by each model ASR@1 of image to text and of text to image."""
    cells = [name]
    for model, before in zip(models, clean, strict=True):
        after = searched(model, made.images, made.captions)
        cells += [shown(asr(b, a, 1).interval) for b, a in zip(before, after, strict=True)]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=100, help="scenes (%(default)s)")
    parser.add_argument("--eps", type=fraction, nargs="+", default=[2 / 255, 4 / 255, 8 / 255])
    parser.add_argument("--words", type=int, default=1, help="words a caption (%(default)s)")
    parser.add_argument("--victim", default="scenes:clip", help="attacked (%(default)s)")
    parser.add_argument("--other", default="scenes:clip-vit", help="only asked (%(default)s)")
    parser.add_argument("--only", nargs="*", default=[], help="names of rows")
    options = parser.parse_args()

    torch.set_num_threads(1)
    pairs, models = scenes(options.images), [load(options.victim), load(options.other)]
    clean = [searched(model, *pairs) for model in models]
    heads = [f"{model.name} {way}" for model in models for way in ("TR", "IR")]
    print(f"| ASR@1, n = {options.images}, {options.words} word(s) | {' | '.join(heads)} |")
    print("|---|" + "---|" * len(heads))
    for turn, eps in enumerate(options.eps):
        for name, attack, config in ROWS:
            search = registry.build("pair attack", attack, {"words": options.words, **config})
            blind = search.touches == "captions"
            if (options.only and name not in options.only) or (blind and turn):
                continue
            keys = Keys.of(0, range(options.images)).fold("attack", attack)
            made = search(models[0], pairs, Threat(eps=eps), keys)
            budget = "" if blind else f" {eps * LEVELS:g}/255"
            print(line(f"{name}{budget}", made, models, clean), flush=True)


if __name__ == "__main__":
    main()
