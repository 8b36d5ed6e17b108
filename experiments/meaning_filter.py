"""How often the filter of ``text = "meaning-preserving"`` errs, on scenes, where the truth is known.

All changes of one word that the package's list of synonyms and the masked language model offer are
labeled by the scene (all that the caption claims is true, and it claims no less), and then put to
the filter, and to its encoder alone, as if nobody knew: ``python -m experiments.meaning_filter``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from experiments.pairs import percent
from experiments.runner import Measure, Result, main
from secondlook.attacks.text.bert_attack import BERTAttack
from secondlook.attacks.text.captions import similarity
from secondlook.attacks.text.meaning import Change, MeaningFilter, offered_changes
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.scenes.captions import captions
from secondlook.scenes.parsing import preserves
from secondlook.scenes.sampling import sample
from secondlook.statistics import wilson


class Labeled(NamedTuple):
    """Changes, and which of them leave what the caption says as it was."""

    changes: list[Change]
    same: list[bool]


class FilterExperiment:
    """The list of synonyms alone, with the encoder at several similarities, and the encoder alone."""

    name = "meaning-filter"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--scenes", type=int, default=40, help="test scenes (%(default)s)")
        parser.add_argument("--judge", default="scenes:clip-vit", help="the encoder (%(default)s)")
        parser.add_argument("--similarities", type=float, nargs="*", default=[0.8, 0.9, 0.95])

    def arms(self, options: argparse.Namespace) -> Mapping[str, Measure]:
        return {"filter": partial(_measure, options)}

    def report(self, results: Mapping[str, Result]) -> Iterator[str]:
        for result in results.values():
            share = percent(result["same"])
            yield f"{result['changes']} changes of {result['captions']} captions, {share} % of the same meaning"
            yield ""
            yield "| filter | accepted | of these another meaning | of the same meaning, refused |"
            yield "|---|---|---|---|"
            for name, row in result["rows"].items():
                yield f"| {name} | {row['accepted']} | {percent(row['wrong'])} | {percent(row['refused'])} |"


def _measure(options: argparse.Namespace, out: Path) -> Result:
    judge = load(options.judge)
    assert isinstance(judge, Embedder)
    labeled = _labeled(options.scenes)
    cosines = similarity([c.before for c in labeled.changes], [c.after for c in labeled.changes], judge)
    rows = {"synonyms": MeaningFilter()(labeled.changes)}
    for low in options.similarities:
        rows[f"synonyms, similarity {low:g}"] = MeaningFilter(judge=judge, similarity=low)(labeled.changes)
        rows[f"the encoder alone, similarity {low:g}"] = [cosine >= low for cosine in cosines]
    return {
        "captions": 5 * options.scenes,
        "changes": len(labeled.changes),
        "same": list(wilson(sum(labeled.same), len(labeled.same))),
        "rows": {name: _errors(accepted, labeled.same) for name, accepted in rows.items()},
    }


def _labeled(scenes: int) -> Labeled:
    """All changes that are offered in the captions of some scenes, each labeled by its scene."""
    changes: list[Change] = []
    same: list[bool] = []
    for row in range(scenes):
        scene = sample(0, "test", row)
        found = offered_changes(captions(scene), BERTAttack().proposals)
        changes += found
        same += [preserves(change.before, change.after, scene) for change in found]
    return Labeled(changes, same)


def _errors(accepted: Sequence[bool], same: Sequence[bool]) -> Result:
    wrong = sum(may and not true for may, true in zip(accepted, same, strict=True))
    refused = sum(true and not may for may, true in zip(accepted, same, strict=True))
    return {
        "accepted": sum(accepted),
        "wrong": list(wilson(wrong, sum(accepted))),
        "refused": list(wilson(refused, sum(same))),
    }


if __name__ == "__main__":
    main(FilterExperiment(), __doc__)
