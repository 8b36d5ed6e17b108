"""A matcher ranks the first anew, whoever is attacked, and each image is shown to it once."""

from typing import Any

import pytest

from secondlook.audit.schema import Audit
from tests.audit.retrieval import dials
from tests.audit.retrieval.conftest import Run

MODELS = ["python:tests.audit.retrieval.dials:matching"]


def recalls(audit: Audit) -> list[float]:
    return [cell.metrics["mean_recall"].value for cell in audit.cells]


def test_a_look_at_all_pairs_is_a_search_by_the_matcher(
    audited: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nearest colours beat nearest directions: what is moved a little is found again."""
    shown: list[int] = []
    original = dials.MatchingDial.encode_pairs

    def encode_pairs(self: Any, x: Any, texts: Any, pairs: Any) -> Any:
        shown.append(len(x))
        return original(self, x, texts, pairs)

    monkeypatch.setattr(dials.MatchingDial, "encode_pairs", encode_pairs)
    task = {"name": "retrieval", "data": "dials:10", "samples": 0}
    eps = {"eps": ["8/255"]}
    _, plain = audited(models=MODELS, threat=eps, task=task)
    assert not shown
    _, anew = audited(models=MODELS, threat=eps, task={**task, "rerank": 100})
    # In each of four rows ten images ask, ten are asked for, and some of them for the gallery.
    assert sum(shown) == 4 * (10 + 10 + 2 + 10)
    assert recalls(anew) != recalls(plain)
    turned = {words for texts in dials.Colours(10).texts for words in dials.turned((texts,))}
    assert len(turned) == 21
    query = next(c for c in anew.cells if c.settings["attack"].get("attacked") == "query")
    images = dials.Colours(10)
    right = 0
    for row, colour in enumerate(images.colours):
        moved = [value - 8 * (1 if value > dials.GREY else -1) for value in colour]
        away = [
            sum((a - b) ** 2 for a, b in zip(moved, other, strict=True)) for other in images.colours
        ]
        right += min(range(10), key=away.__getitem__) == row
    # The caption that the second image shares with the first ties with the first one's own.
    assert query.metrics["alike_image_to_text_r1"].value == right / 10


def test_the_first_alone_are_ranked_anew(audited: Run) -> None:
    task = {"name": "retrieval", "data": "dials:10", "samples": 0, "rerank": 1}
    _, one = audited(models=MODELS, task=task)
    _, none = audited(models=MODELS, task={**task, "rerank": 0})
    assert recalls(one) == recalls(none)
