"""Short trainings side by side, and what SGA leaves of each: the studies of multimodal hardening.

Every arm starts from the same model, sees the same scenes in the same order, and is written to a
file of its own, so that a run that was stopped goes on where it was. ``--table`` prints what is
there as Markdown.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.hardening_arms import ARMS, STUDIES, Arm
from benchmarks.pairs_table import scenes, searched
from secondlook import registry
from secondlook.audit.store import write_atomic
from secondlook.hardening.checkpoint import Checkpoint
from secondlook.hardening.course import Course
from secondlook.hardening.harden import trained
from secondlook.hardening.plan import Hardening
from secondlook.hardening.team import Team
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.tasks.retrieval_metrics import recall
from secondlook.threat import LEVELS, Threat, fraction

ATTACKS: Final = {"words": "BERT-Attack", "pair-pgd": "PGD", "sga": "SGA"}
WAYS: Final = ("image → text", "text → image")
GIVEN: Final = ("alignment", "diversity", "frechet", "divergence")


def measured(model: Embedder, images: int, eps: float) -> dict[str, list[list[float]]]:
    """R@1 both ways with its interval: clean, and under each attack with both sides altered."""
    pairs, found = scenes(images), {}
    found["clean"] = [list(recall(way, 1).interval) for way in searched(model, *pairs)]
    for name in ATTACKS:
        keys = Keys.of(0, range(images)).fold("attack", name)
        made = registry.build("pair attack", name, {})(model, pairs, Threat(eps=eps), keys)
        ways = searched(model, made.images, made.captions)
        found[name] = [list(recall(way, 1).interval) for way in ways]
    return found


def run(name: str, arm: Arm, options: argparse.Namespace) -> None:
    """Trains and measures one arm, unless it is there."""
    place: Path = options.out / f"{name}.json"
    if place.exists():
        return
    model = load(arm.model)
    assert isinstance(model, Embedder)
    course = Course(steps=options.steps, rate=options.lr, average=0.99, seed=options.seed)
    plan = Hardening(model=arm.model, method=arm.build(options.train_eps), course=course, bf16=True)
    lessons = plan.learnt(model, _silent)
    identity = plan.identity(model, lessons)
    checkpoint = Checkpoint(path=place.with_suffix(".checkpoint"), identity=identity)
    training = trained(plan, model, lessons, checkpoint, _silent, Team())
    figures = measured(model, options.images, options.eps)
    held = {
        "recipe": identity, "n": options.images, "eps": options.eps,
        "augmentation": training.augmentation, "figures": figures,
    }  # fmt: skip
    write_atomic(place, json.dumps(held, indent=2, default=str).encode())
    checkpoint.path.unlink(missing_ok=True)
    print(line(name, held), flush=True)


def _silent(done: int, of: int, what: str) -> None:
    """Tells nobody: each arm is a line when it is ready."""


def line(name: str, held: dict[str, Any]) -> str:
    """A row: R@1 under each attack, and what its augmentation is like."""
    figures = held["figures"]
    cells = [" / ".join(_share(way) for way in figures[key]) for key in ("clean", *ATTACKS)]
    given = [
        f"{kind}: " + ", ".join(f"{told[key]:.2f}" for key in GIVEN)
        for kind, told in held["augmentation"].items()
    ]
    return f"| {name} | {' | '.join(cells)} | {'; '.join(given)} |"


def _share(interval: list[float]) -> str:
    value, low, high = (100 * part for part in interval)
    return f"{value:.1f} [{low:.0f}, {high:.0f}]"


def table(out: Path) -> Iterator[str]:
    """The lines of all studies, as far as their arms are there."""
    for study, names in STUDIES.items():
        made = {name: out / f"{name}.json" for name in names}
        held = {n: json.loads(p.read_text(encoding="utf-8")) for n, p in made.items() if p.exists()}
        if not held:
            continue
        first = next(iter(held.values()))
        yield f"**{study}**: R@1 {', '.join(WAYS)}; n = {first['n']}, eps {_radius(first['eps'])}"
        yield ""
        yield f"| arm | clean | {' | '.join(ATTACKS.values())} | {', '.join(GIVEN)} |"
        yield "|---|---|" + "---|" * (len(ATTACKS) + 1)
        yield from (line(name, each) for name, each in held.items())
        yield ""


def _radius(eps: float) -> str:
    return f"{eps * LEVELS:g}/255"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("studies", nargs="*", help=f"{', '.join(STUDIES)} (all)")
    parser.add_argument("--out", type=Path, default=Path("runs/hardening"), help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=300, help="of training (%(default)s)")
    parser.add_argument("--lr", type=float, default=1e-3, help="peak (%(default)s)")
    parser.add_argument("--train-eps", type=fraction, default=4 / 255, help="inside (4/255)")
    parser.add_argument("--eps", type=fraction, default=2 / 255, help="measured (2/255)")
    parser.add_argument("--images", type=int, default=200, help="scenes (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="print what is there, train nothing")
    options = parser.parse_args()
    if not options.table:
        torch.set_num_threads(1)
        options.out.mkdir(parents=True, exist_ok=True)
        chosen = [STUDIES[study] for study in options.studies or STUDIES]
        for name in dict.fromkeys(name for names in chosen for name in names):
            run(name, ARMS[name], options)
    print("\n".join(table(options.out)))


if __name__ == "__main__":
    main()
