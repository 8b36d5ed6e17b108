"""Two runs row by row: what is equal, what has changed and by which field, and what is new."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.compare_runs import compare, main, read, same

Record = dict[str, Any]


def cell(knowledge: str, attack: Record | None = None, **changes: Any) -> Record:
    made = {
        "id": f"{knowledge}-{sorted((attack or {}).items())}",
        "model": "m",
        "defense": "undefended",
        "knowledge": knowledge,
        "goal": "targeted",
        "threat": {"eps": 0.1 if attack else 0.0},
        "settings": {"attack": attack or {}},
    }
    return made | changes


def write(folder: Path, rows: list[tuple[Record, list[Record]]]) -> Path:
    """A run directory with some cells, each with the records of samples a, b, …"""
    (folder / "s").mkdir(parents=True)
    cells = [each for each, _ in rows]
    (folder / "s" / "audit.json").write_text(json.dumps({"cells": cells}))
    lines = [
        json.dumps({"cell": each["id"], "sample": name, **record})
        for each, records in rows
        for name, record in zip("abcdef", records, strict=False)
    ]
    (folder / "s" / "records.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def test_a_run_is_equal_to_itself_in_other_names_and_last_digits(tmp_path: Path) -> None:
    former = cell("adaptive", {"name": "co", "steps": 3, "instead": {}, "lost": 1})
    former["defence"] = former.pop("defense")
    old = write(
        tmp_path / "old",
        [
            (cell("clean"), [{"cosine": 0.5, "ranks": [1, 2]}, {"cosine": None, "ranks": [3]}]),
            (former, [{"reached": 1.0, "loss": 1000.0}]),
        ],
    )
    now = cell("adaptive", {"name": "co-attack", "steps": 3, "found": 2}, id="another hash")
    new = write(
        tmp_path / "new",
        [
            (now, [{"success": 1.0, "loss": 1000.01}]),
            (cell("clean"), [{"cosine": 0.500003, "ranks": [1, 2]}, {"cosine": None, "ranks": [3]}]),
        ],
    )
    found = compare(read(old / "s"), read(new / "s"))
    assert (found.rows, found.equal, found.missing, found.fresh) == (2, 2, [], [])
    assert found.same and main([str(old), str(new), "s"]) == 0


def test_what_differs_is_counted_by_its_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write(
        tmp_path / "old",
        [
            (cell("clean"), [{"x": 1.0, "outcome": "wrong", "gone": 1}] * 3),
            (cell("oblivious", {"name": "pgd", "steps": 1}), [{"x": 1.0}]),
            (cell("oblivious", {"name": "pgd", "steps": 2}), [{"x": 2.0}]),
            (cell("oblivious", {"name": "pgd", "steps": 9}), [{"x": 9.0}]),
        ],
    )
    new = write(
        tmp_path / "new",
        [
            (cell("clean"), [{"x": 1.0, "outcome": "wrong"}, {"x": 1.1, "outcome": "correct"}]),
            (cell("adaptive", {"name": "pgd", "steps": 2}), [{"x": 2.0}]),
            (cell("oblivious", {"name": "pgd", "steps": 1}), [{"x": 1.0}]),
            (cell("transfer", {"name": "pgd", "steps": 1}), [{"x": 1.0}]),
        ],
    )
    found = compare(read(old / "s"), read(new / "s"))
    ((title, fields),) = found.changed.items()
    assert title.startswith("m, undefended, clean")
    assert fields == {"x": 1, "outcome": 1, "-gone": 2, "sample missing": 1}
    # Whoever attacks a bare model is adaptive by now, and is the same as before.
    assert found.equal == 2 and "steps=9" in found.missing[0] and len(found.missing) == 1
    assert len(found.fresh) == 1 and "transfer" in found.fresh[0]
    assert main([str(old), str(new), "s"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("s: 2 of 4 rows are equal") and "  differs: m, undefended, clean" in out


def test_a_run_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path), str(tmp_path), "s"])
    assert ended.value.code == 2 and "audit.json is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (1.0, 1.0 + 1e-5, True),
        (1.0, 1.0001, False),
        (1e4, 1e4 + 0.1, True),
        (0.0, 1e-5, True),
        (None, 0.0, False),
        (None, None, True),
        (1, 1, True),
        (1, 2, False),
        ("a", "a", True),
        ([0.1, [2]], [0.1, [2]], True),
        ([0.1], [0.1, 0.2], False),
        (True, False, False),
    ],
)
def test_values_that_are_the_same(one: Any, other: Any, alike: bool) -> None:
    assert same(one, other) == alike
