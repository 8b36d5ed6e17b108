"""The grid of text threats: which arms there are, what one measures, and how a table reads."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest

from experiments.hardening_text import THREATS, WITH_TEXT, WITHOUT_TEXT, TextThreatExperiment
from experiments.runner import result_file
from secondlook.errors import InvalidInput


def options(*given: str) -> Namespace:
    parser = ArgumentParser()
    TextThreatExperiment().add_arguments(parser)
    return parser.parse_args(list(given))


def test_every_method_is_trained_under_each_threat_that_it_knows_with_each_seed() -> None:
    arms = TextThreatExperiment().arms(options("--seeds", "3"))
    assert len(arms) == 1 + 3 * (len(WITHOUT_TEXT) + len(THREATS) * len(WITH_TEXT))
    assert len({result_file(Path(), name) for name in arms}) == len(arms)
    assert "MAT, free, seed 2" in arms and "TeCoA-ITR, seed 0" in arms
    assert list(TextThreatExperiment().arms(options("undefended"))) == ["undefended"]
    with pytest.raises(InvalidInput, match="method 'AT' is none of undefended, MAT"):
        TextThreatExperiment().arms(options("AT"))


def test_an_arm_is_searched_clean_and_under_each_threat(tmp_path: Path) -> None:
    given = options("undefended", "--images", "4", "--rounds", "1")
    (measure,) = TextThreatExperiment().arms(given).values()
    result = measure(tmp_path)
    assert list(result["figures"]) == ["clean", *THREATS]
    assert [result["figures"][key]["false"][0] for key in ("clean", "meaning-preserving")] == [0, 0]
    assert result["figures"]["mlm"]["false"][0] > 0.5
    *_, row = TextThreatExperiment().report({"undefended": result})
    assert row.startswith("| undefended | – | 1 | 100 / 100; 0 false |")


def test_seeds_are_put_together() -> None:
    def result(share: float) -> dict[str, object]:
        figures = {way: [share, 0, 1] for way in ("image_to_text", "text_to_image", "false")}
        shown = dict.fromkeys(("clean", *THREATS), figures)
        return {"method": "MAT", "text": "free", "n": 4, "eps": 2 / 255, "rounds": 1, "figures": shown}

    *_, row = TextThreatExperiment().report({"a": result(0.5), "b": result(0.7)})
    assert row.startswith("| MAT | free | 2 | 60 [50, 70] / 60 [50, 70]; 60 [50, 70] false |")
