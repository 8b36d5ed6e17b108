"""Does multimodal contrastive learning make models that are trained on synthetic data more robust?

The question is asked of RSICD; the overhead scenes of the embedded world play its part. Every arm
is trained and measured once and written to a file of its own, so that a run that was stopped goes
on where it was. ``--table`` prints what is there as Markdown, with the sentence that answers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from benchmarks.pairs_table import searched
from benchmarks.rsicd_arms import Arm, Budget, arms, shelf, trained
from benchmarks.rsicd_table import table
from secondlook.attacks.apgd import APGD
from secondlook.attacks.base import Attack
from secondlook.attacks.joint.sga import SGA
from secondlook.attacks.pairs import Pairs
from secondlook.attacks.square import Square
from secondlook.audit.store import write_atomic
from secondlook.data import load
from secondlook.defenses.undefended import Undefended
from secondlook.goals.mislead import Bout, Mislead
from secondlook.models.base import Classifier, Embedder
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from secondlook.tasks.retrieval_metrics import CUTS, recall
from secondlook.threat import LEVELS, Threat

RADII: Final = (1, 2, 4, 8)
"""Of the L∞ attacks on naming, in 255ths; 0 is the clean image."""
SEARCHED_AT: Final = (2,)
"""Of SGA, in 255ths."""
BATCH: Final = 100


def attacks(options: argparse.Namespace) -> dict[str, Attack]:
    """One after the other, each on those that stand; a sample counts by the worst of them."""
    return {
        "apgd-ce": APGD(steps=options.attack_steps),
        "apgd-t": APGD(steps=options.attack_steps, targets=options.targets),
        "square": Square(queries=options.queries),
    }


def named(model: Classifier, options: argparse.Namespace) -> dict[str, Any]:
    """Of each test image the radius that breaks it, and the attack that did.

    A radius is 0 where the clean image is wrong, and one beyond the last where all fail. What a
    smaller ball holds the larger one holds too, so whoever is broken is attacked no further.
    """
    source = load("overhead:test", n=options.images)
    radii, broken_by = [RADII[-1] + 1] * len(source), [""] * len(source)
    for rows in torch.arange(len(source)).split(BATCH):
        x, truth = source.read(rows.tolist(), None)
        keys = Keys.of(0, [source.ids[row] for row in rows.tolist()])
        standing = _right(model, x, truth)
        for row in rows[~standing].tolist():
            radii[row] = 0
        for radius in RADII:
            for name, attack in attacks(options).items():
                at = standing.nonzero()[:, 0]
                if not len(at):
                    continue
                bout = Bout(
                    goal=Mislead(truth=truth[at]), victim=Undefended(model=model),
                    classes=len(model.classes),
                )  # fmt: skip
                told = keys[at].fold(name, radius)
                made = attack(bout, x[at], Threat(eps=radius / LEVELS), told).x
                fallen = at[~_right(model, made, truth[at])]
                standing[fallen] = False
                for row in rows[fallen].tolist():
                    radii[row], broken_by[row] = radius, name
    return {"radii": radii, "by": broken_by}


@torch.no_grad()
def _right(model: Classifier, x: Tensor, truth: Tensor) -> Tensor:
    return model(x).argmax(1) == truth


def found(model: Embedder, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """R@k both ways, clean and with both sides altered by SGA."""
    source = load("overhead:test", n=options.images).captioned()
    rows = range(len(source))
    images = source.read(rows, None).images
    pairs = Pairs(images, tuple(source.captions(row) for row in rows))
    sga, keys = SGA(mlm=shelf(out, "overhead-mlm")), Keys.of(0, source.ids).fold("sga")
    held = {"0": _recalls(searched(model, *pairs))}
    for radius in SEARCHED_AT:
        made = sga(model, pairs, Threat(eps=radius / LEVELS), keys)
        held[str(radius)] = _recalls(searched(model, made.images, made.captions))
    return held


def _recalls(ways: Sequence[Any]) -> list[list[list[float]]]:
    return [[list(recall(way, k).interval) for k in CUTS] for way in ways]


def run(arm: Arm, options: argparse.Namespace) -> None:
    """Trains and measures one arm, unless it is there."""
    place: Path = options.out / "results" / f"{arm}.json"
    if place.exists():
        return
    model = trained(arm, Budget(), options.out, options.painter)
    source = load("overhead:test", n=1)
    held: dict[str, Any] = {
        "arm": arm._asdict(), "n": options.images, "attack_steps": options.attack_steps,
        "targets": options.targets, "queries": options.queries, "weights": model.hash,
        "painter": options.painter or "overhead-painter",
    }  # fmt: skip
    if isinstance(model, Embedder):
        held |= named(ZeroShot(model, source.classes, source.prompt), options)
        held["recall"] = found(model, options.out, options)
    else:
        held |= named(model, options)
    write_atomic(place, json.dumps(held).encode())
    left = [sum(r > radius for r in held["radii"]) for radius in (0, *RADII)]
    print(f"{arm}: {left} of {options.images} right at 0 and {RADII} of 255", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arm", default="", help="all whose names hold this, real-hardened, say")
    parser.add_argument("--out", type=Path, default=Path("runs/rsicd"), help="(%(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each arm (%(default)s)")
    parser.add_argument("--images", type=int, default=200, help="test images (%(default)s)")
    parser.add_argument("--attack-steps", type=int, default=20, help="of APGD (%(default)s)")
    parser.add_argument("--targets", type=int, default=3, help="of APGD-T (%(default)s)")
    parser.add_argument("--queries", type=int, default=150, help="of Square (%(default)s)")
    parser.add_argument("--painter", default="", help="another painter, scenes:painter, say")
    parser.add_argument("--table", action="store_true", help="print what is there, train nothing")
    options = parser.parse_args()
    if not options.table:
        torch.set_num_threads(1)
        for arm in arms(options.seeds):
            if options.arm in str(arm):
                run(arm, options)
    files = sorted((options.out / "results").glob("*.json"))
    print("\n".join(table([json.loads(file.read_text(encoding="utf-8")) for file in files])))


if __name__ == "__main__":
    main()
