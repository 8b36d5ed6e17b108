"""Records by columns: what goes in comes out, in less room."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, strategies as st

from secondlook.audit.columns import Rows

NUMBERS = st.one_of(st.none(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False))
RECORDS = st.lists(
    st.fixed_dictionaries(
        {"sample": st.sampled_from("abcde")}, optional={"x": NUMBERS, "y": NUMBERS, "words": st.lists(st.integers())}
    ),
    max_size=9,
)


@given(RECORDS)
def test_what_goes_in_comes_out_the_later_record_of_a_sample_alone(given: list[Any]) -> None:
    rows, last = Rows(), {}
    for record in given:
        rows.add(record)
        last[record["sample"]] = record
    wanted = [last[name] for name in sorted(last)]
    assert repr(_sorted(rows.ordered())) == repr(_sorted(wanted))
    assert len(rows) == len(wanted)
    assert _sorted(rows[:2]) == _sorted(wanted[:2])
    assert all(rows[i] == wanted[i] for i in range(len(wanted)))


def _sorted(records: Any) -> list[Any]:
    """An int and a float of one value are two things in JSON."""
    return [sorted(record.items()) for record in records]


def test_they_take_a_fraction_of_the_room() -> None:
    record = {"cell": "c" * 16, **{f"column {i}": i / 7 for i in range(25)}}
    lines = [json.dumps({**record, "sample": f"test-{i}"}) for i in range(2000)]

    def room(read: Any) -> int:
        tracemalloc.start()
        held = read()
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(held) == len(lines)
        return taken

    def by_columns() -> Rows:
        rows = Rows()
        for line in lines:
            rows.add(json.loads(line))
        return rows

    assert room(by_columns) * 4 < room(lambda: [json.loads(line) for line in lines])


@pytest.mark.parametrize("index", [3, -4])
def test_there_is_no_record_beyond_the_last(index: int) -> None:
    rows = Rows()
    for name in "abc":
        rows.add({"sample": name})
    with pytest.raises(IndexError):
        rows[index]
