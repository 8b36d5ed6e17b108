"""What an attack on pixels makes a captioner say: ``python -m benchmarks.captioning``.

Every row has the same images. Untargeted the attack climbs the loss of all true captions, targeted
it lowers that of another image's caption.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from secondlook import registry
from secondlook.attacks.base import Attack
from secondlook.models import load
from secondlook.models.captioner import Captioner
from secondlook.statistics import Interval
from secondlook.tasks.captioning import CaptionBatch, CaptioningTask, OpenCaptioning
from secondlook.tasks.captioning_figures import CaptionFigures, Told, figures
from secondlook.tasks.zeroshot import Wish
from secondlook.threat import Threat

COLUMNS = ("main", "whole", "claims", "cider", "bleu4", "reached", "verbatim", "target_cider")
WISHES: tuple[Wish, ...] = ("untargeted", "targeted")


class Bench:
    """A captioner at a task, and what is done to it."""

    def __init__(self, task: OpenCaptioning, captioner: Captioner, batch: int) -> None:
        self.task, self.captioner, self.size = task, captioner, batch

    def batches(self) -> Iterator[CaptionBatch]:
        positions = range(len(self.task.rows))
        for start in positions[:: self.size]:
            yield self.task.batch(positions[start : start + self.size], self.captioner.size)

    def attacked(self, batch: CaptionBatch, attack: Attack, threat: Threat, wish: Wish) -> Tensor:
        objective = self.task.objective(batch, self.captioner, wish)
        return attack(objective, batch.images, threat, batch.keys.fold("attack", wish)).x

    def row(self, attack: Attack | None, threat: Threat, wish: Wish) -> list[Told]:
        told: list[Told] = []
        for batch in self.batches():
            images = batch.images if attack is None else self.attacked(batch, attack, threat, wish)
            told += self.task.told(batch, images, self.captioner)
        return told


def spelled(value: Interval | float | None) -> str:
    if isinstance(value, Interval):
        return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"
    return "–" if value is None else f"{value:.3f}"


def line(name: str, found: CaptionFigures) -> str:
    cells = (spelled(getattr(found, column)) for column in COLUMNS)
    return f"| {name} | {' | '.join(cells)} |"


def settings(text: str) -> dict[str, Any]:
    return dict(pair.split("=", 1) for pair in text.split(",")) if text else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="scenes:captioner", help="a captioner (%(default)s)")
    parser.add_argument("--data", default="scenes:test", help="captioned images (%(default)s)")
    parser.add_argument("--samples", type=int, default=200, help="images (%(default)s)")
    parser.add_argument("--batch", type=int, default=50, help="images at once (%(default)s)")
    parser.add_argument("--eps", default="8/255", help="L∞ radius in pixel units (%(default)s)")
    parser.add_argument("--attack", default="pgd", help="by name (%(default)s)")
    parser.add_argument("--set", default="steps=50", help="of the attack (%(default)s)")
    parser.add_argument("--show", type=int, default=2, help="captions to print (%(default)s)")
    options = parser.parse_args()

    model = load(options.model)
    if not isinstance(model, Captioner):
        parser.error(f"{options.model} writes no captions; try scenes:captioner")
    task = CaptioningTask(data=options.data, samples=options.samples).open()
    bench, threat = Bench(task, model, options.batch), Threat.parse("linf", options.eps)
    attack: Attack = registry.build("attack", options.attack, settings(options.set))
    print(f"{model.name}, {task.name}, n = {len(task.rows)}, {threat}, {attack}\n")
    print(f"| | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    said = {"clean": bench.row(None, threat, "untargeted")}
    print(line("clean", figures(said["clean"], task.captions)), flush=True)
    for wish in WISHES:
        said[wish] = bench.row(attack, threat, wish)
        print(line(wish, figures(said[wish], task.captions)), flush=True)
    for at in range(options.show):
        print(f"\n{task.ids[at]}; the target: {task.targets[at][1]}")
        for name, told in said.items():
            print(f"  {name}: {told[at].text}")


if __name__ == "__main__":
    main()
