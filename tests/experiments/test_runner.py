"""Experiments: arms are measured once, go on after a failure, and are reported in their order."""

from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.runner import Result, result_file, run, stored
from secondlook.errors import InvalidInput


def counted(calls: list[str], name: str) -> Callable[[Path], Result]:
    def measure(out: Path) -> Result:
        calls.append(name)
        return {"name": name, "share": 0.5}

    return measure


def test_what_is_there_is_not_measured_again(tmp_path: Path) -> None:
    calls: list[str] = []
    arms = {name: counted(calls, name) for name in ("b, plain", "a")}
    run({"a": arms["a"]}, tmp_path)
    run(arms, tmp_path)
    run(arms, tmp_path)
    assert calls == ["a", "b, plain"]
    assert list(stored(arms, tmp_path)) == ["b, plain", "a"]
    assert stored(arms, tmp_path)["a"] == {"name": "a", "share": 0.5}


def test_two_arms_never_share_a_file(tmp_path: Path) -> None:
    arms = {name: counted([], name) for name in ("MAT, free", "MAT+, free")}
    with pytest.raises(InvalidInput, match=r"'MAT, free' and 'MAT\+, free' have one file"):
        run(arms, tmp_path)


def test_an_arm_that_fails_is_logged_and_the_next_one_runs(tmp_path: Path) -> None:
    def broken(out: Path) -> Result:
        raise ArithmeticError("no gradient at all")

    calls: list[str] = []
    arms = {"broken": broken, "sound": counted(calls, "sound")}
    run(arms, tmp_path)
    assert calls == ["sound"] and list(stored(arms, tmp_path)) == ["sound"]
    assert "no gradient at all" in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_a_result_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def unwritable(out: Path) -> Result:
        return {("a", "tuple"): 1}  # type: ignore[dict-item]

    run({"arm": unwritable}, tmp_path)
    assert not result_file(tmp_path, "arm").exists()


@pytest.mark.parametrize("module", ["hardening", "hardening_captions", "rsicd"])
def test_each_experiment_has_arms_and_an_empty_report(module: str) -> None:
    import argparse
    import importlib

    experiment = importlib.import_module(f"experiments.{module}")
    made = next(
        value()
        for name, value in vars(experiment).items()
        if name.endswith("Experiment") and value.__module__ == experiment.__name__
    )
    parser = argparse.ArgumentParser()
    made.add_arguments(parser)
    arms = made.arms(parser.parse_args([]))
    files = {result_file(Path("out"), name) for name in arms}
    assert len(files) == len(arms) > 3
    assert len(list(made.report({}))) <= 1
