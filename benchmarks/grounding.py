"""Where an embedder looks for a text, before and after attacks: ``python -m benchmarks.grounding``.

Attacks are those on pairs of image and text, on the image, on the text or on both, and one on the
image that climbs the map itself (PGD, as many steps as ``--steps``).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import torch

from benchmarks.captioning import settings
from secondlook import registry
from secondlook.attacks.edits import words_changed
from secondlook.attacks.pairs import PairAttack, Pairs
from secondlook.attacks.pgd import PGD
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.statistics import mean, wilson
from secondlook.tasks.grounding import GroundingBatch, GroundingTask, OpenGrounding
from secondlook.tasks.grounding_maps import find_site
from secondlook.tasks.grounding_metrics import Pointed
from secondlook.threat import Threat

MARGIN = 0.5
"""The overlap from which a box counts as found."""


def batches(task: OpenGrounding, count: int, side: int) -> Iterator[GroundingBatch]:
    positions = range(len(task.rows))
    for start in positions[::count]:
        yield task.batch(positions[start : start + count], (side, side) if side else None)


class Row:
    """The figures of one attack, gathered over batches."""

    def __init__(self) -> None:
        self.found: list[Pointed] = []
        self.cosines: list[float] = []
        self.words: list[int] = []

    def take(self, task: OpenGrounding, model: Embedder, batch: GroundingBatch, now: Pairs) -> None:
        site = find_site(model, batch.pairs.images[0])
        self.found.append(task.pointed(now, batch.boxes, model, site))
        texts = [text for (text,) in now.captions]
        with torch.no_grad():
            self.cosines += (model.embed(now.images) * model.embed_text(texts)).sum(1).tolist()
        before = [text for (text,) in batch.pairs.captions]
        self.words += [words_changed(*pair) for pair in zip(before, texts, strict=True)]

    def __str__(self) -> str:
        hit, overlap, inside = (torch.cat(each) for each in zip(*self.found, strict=True))
        n, near = len(hit), overlap >= MARGIN
        shares = [wilson(int(each.sum()), n) for each in (hit, near)]
        means = [mean(each) for each in (overlap.tolist(), inside.tolist(), self.cosines)]
        cells = [f"{v.value:.3f} [{v.low:.3f}, {v.high:.3f}]" for v in (*shares, *means)]
        return f"{' | '.join(cells)} | {sum(self.words) / n:.2f}"


def attack_of(text: str) -> tuple[str, PairAttack]:
    name, _, rest = text.partition(":")
    return name, registry.build("pair attack", name, settings(rest))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="scenes:clip", help="an embedder (%(default)s)")
    parser.add_argument("--data", default="scenes:test", help="with boxes (%(default)s)")
    parser.add_argument("--samples", type=int, default=200, help="images (%(default)s)")
    parser.add_argument("--batch", type=int, default=50, help="images at once (%(default)s)")
    parser.add_argument("--side", type=int, default=0, help="of images; 0 leaves them as they are")
    parser.add_argument("--eps", default="8/255", help="L∞ radius in pixel units (%(default)s)")
    parser.add_argument(
        "--attacks", nargs="*", default=["pair-pgd:steps=50", "words", "co:steps=50"],
        help="by name, settings behind a colon: pair-pgd:steps=10,pace=2",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, default=50, help="against the map (%(default)s)")
    options = parser.parse_args()

    model = load(options.model)
    if not isinstance(model, Embedder):
        parser.error(f"{options.model} embeds no images; try scenes:clip")
    task = GroundingTask(data=options.data, samples=options.samples).open()
    threat = Threat.parse("linf", options.eps)
    print(f"{model.name}, {task.name}, n = {len(task.rows)}, {threat}, {task.task}")
    print(f"a random finger hits {task.chance:.3f}\n")
    print("| | pointing | IoU ≥ 0.5 | mean IoU | heat inside | cosine | words changed |")
    print("|---|---|---|---|---|---|---|")
    pairs = dict(map(attack_of, options.attacks))
    for name in ("clean", *pairs, "map"):
        row = Row()
        for batch in batches(task, options.batch, options.side):
            keys = batch.keys.fold("attack", name)
            if name == "clean":
                now = batch.pairs
            elif name == "map":
                attack = PGD(steps=options.steps)
                found = attack(task.objective(batch, model), batch.pairs.images, threat, keys)
                now = Pairs(found.x, batch.pairs.captions)
            else:
                altered = pairs[name](model, batch.pairs, threat, keys)
                now = Pairs(altered.images, altered.captions)
            row.take(task, model, batch, now)
        print(f"| {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
