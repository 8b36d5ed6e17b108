"""Trainings under each text threat, each judged under all of them.

What a caption may suffer inside the training and in the attack that judges: any word, what a
language model would write, or synonyms alone. Every arm starts from the same model and is given the
same number of steps; the attack that judges searches words and pixels in turn, on both sides:
``python -m experiments.hardening_text [METHOD…]``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import torch

from experiments.hardening import Training, train
from experiments.pairs import attacked, pairs_of, radius, searched
from experiments.runner import Measure, Result, main
from secondlook.attacks.pairs import AlteredPairs, Pairs
from secondlook.attacks.text.base import TextThreat
from secondlook.data import load as load_data
from secondlook.errors import InvalidInput
from secondlook.metrics.retrieval import recall
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.scenes.parsing import verify
from secondlook.scenes.sampling import sample
from secondlook.statistics import wilson
from secondlook.threat import fraction

THREATS: Final[tuple[TextThreat, ...]] = get_args(TextThreat)
WITHOUT_TEXT: Final[Mapping[str, Training]] = {
    "clean": Training(method="clean"),
    "TeCoA": Training(method="tecoa"),
    "FARE": Training(method="fare"),
    "TeCoA-ITR": Training(method="tecoa-itr"),
}
"""Methods whose training attacks no captions."""
WITH_TEXT: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "MAT": ("mat", {}),
    "MAT, alternating": ("mat", {"order": "alternating"}),
    "MAT+": ("mat+", {"human": 4.0}),
}
"""Methods that do, with their settings."""


class Arm(NamedTuple):
    """One training.

    Attributes:
        method: as the tables have it.
        text: the threat inside; empty where captions are left alone.
        seed: of the training.
        training: what is trained; None for the model as it is.
    """

    method: str
    text: str
    seed: int
    training: Training | None

    @property
    def name(self) -> str:
        """What its file is called."""
        inside = f", {self.text}" if self.text else ""
        return f"{self.method.replace('+', ' plus')}{inside}, seed {self.seed}" if self.training else self.method


class TextThreatExperiment:
    """Methods x text threats inside x seeds."""

    name = "hardening-text"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        every = ["undefended", *WITHOUT_TEXT, *WITH_TEXT]
        parser.add_argument("methods", nargs="*", help=f"{'; '.join(every)} (all)")
        parser.add_argument("--steps", type=int, default=100, help="of training (%(default)s)")
        parser.add_argument("--lr", type=float, default=1e-3, help="peak (%(default)s)")
        parser.add_argument("--train-eps", type=fraction, default=2 / 255, help="inside (2/255)")
        parser.add_argument("--eps", type=fraction, default=2 / 255, help="measured (2/255)")
        parser.add_argument("--images", type=int, default=100, help="scenes (%(default)s)")
        parser.add_argument("--rounds", type=int, default=5, help="of the attack that judges (%(default)s)")
        parser.add_argument("--seeds", type=int, default=3, help="trainings of each arm (%(default)s)")

    def arms(self, options: argparse.Namespace) -> Mapping[str, Measure]:
        found = [arm for seed in range(options.seeds) for arm in _arms(seed)]
        known = dict.fromkeys(arm.method for arm in found)
        for method in options.methods:
            if method not in known:
                raise InvalidInput(f"method {method!r} is none of {', '.join(known)}")
        chosen = [arm for arm in found if not options.methods or arm.method in options.methods]
        return {arm.name: partial(_measure, arm, options) for arm in chosen}

    def report(self, results: Mapping[str, Result]) -> Iterator[str]:
        if not results:
            return
        first = next(iter(results.values()))
        yield (
            f"R@1 image → text / text → image in percent, mean over seeds [lowest, highest], and false captions; "
            f"n = {first['n']}, eps {radius(first['eps'])}, {first['rounds']} rounds"
        )
        yield ""
        yield f"| method | text threat inside | seeds | clean | {' | '.join(f'`{text}`' for text in THREATS)} |"
        yield "|---|---|---|---|" + "---|" * len(THREATS)
        groups: dict[tuple[str, str], list[Result]] = {}
        for result in results.values():
            groups.setdefault((result["method"], result["text"]), []).append(result)
        for (method, text), rows in groups.items():
            cells = [_cell([row["figures"][key] for row in rows]) for key in ("clean", *THREATS)]
            yield f"| {method} | {text or '–'} | {len(rows)} | {' | '.join(cells)} |"


def _arms(seed: int) -> Iterator[Arm]:
    if not seed:
        yield Arm("undefended", "", 0, None)
    for method, (name, settings) in WITH_TEXT.items():
        for text in THREATS:
            yield Arm(method, text, seed, Training(method=name, settings={"text": text, **settings}))
    for method, training in WITHOUT_TEXT.items():
        yield Arm(method, "", seed, training)


def _measure(arm: Arm, options: argparse.Namespace, out: Path) -> Result:
    """Trains an arm, and searches with it, clean and under each text threat."""
    recipe: dict[str, Any] = {}
    if arm.training is None:
        model = load("scenes:clip")
        assert isinstance(model, Embedder)
    else:
        done = train(arm.name, arm.training, options, arm.seed, out)
        model, recipe = done.model, done.recipe
    pairs, keys = pairs_of(load_data("scenes:test", n=options.images)), Keys.of(0, range(options.images))
    figures = {"clean": _figures(model, pairs)}
    for text in THREATS:
        settings = {"text": text, "visit": "every", "rounds": options.rounds}
        figures[text] = _figures(model, attacked("alternating", model, pairs, options.eps, keys, **settings))
    return {
        "method": arm.method,
        "text": arm.text,
        "seed": arm.seed,
        "recipe": recipe,
        "n": options.images,
        "eps": options.eps,
        "rounds": options.rounds,
        "figures": figures,
    }


@torch.no_grad()
def _figures(model: Embedder, pairs: Pairs | AlteredPairs) -> dict[str, list[float]]:
    """R@1 both ways and the share of false captions, each with its interval."""
    by_image, by_text = searched(model, pairs.images, pairs.captions)
    rows = enumerate(pairs.captions)
    false = [not verify(text, sample(0, "test", row)).whole for row, texts in rows for text in texts]
    share = sum(false) / len(false)
    return {
        "image_to_text": list(recall(by_image, 1).interval),
        "text_to_image": list(recall(by_text, 1).interval),
        "false": list(wilson(share * len(pairs.captions), len(pairs.captions))),
    }


def _cell(figures: Sequence[Mapping[str, Sequence[float]]]) -> str:
    ways = " / ".join(_spread([row[way][0] for row in figures]) for way in ("image_to_text", "text_to_image"))
    return f"{ways}; {_spread([row['false'][0] for row in figures])} false"


def _spread(values: Sequence[float]) -> str:
    """The mean, and of several the lowest and the highest, in percent.

    >>> _spread([0.5]), _spread([0.5, 0.7])
    ('50', '60 [50, 70]')
    """
    mean = f"{100 * sum(values) / len(values):.0f}"
    return mean if len(values) == 1 else f"{mean} [{100 * min(values):.0f}, {100 * max(values):.0f}]"


if __name__ == "__main__":
    main(TextThreatExperiment(), __doc__)
