"""Ranks, block by block: against a plain argsort, and with ties, NaN and a second look."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.metrics.ranks import leading, ranks


def vectors(count: int, seed: int, width: int = 8) -> Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)))


def sorted_ranks(scores: Tensor, right: list[list[int]]) -> list[int]:
    """Where the best right answer stands in a sorted list of the best and all that is wrong."""
    found = []
    for row, answers in zip(scores, right, strict=True):
        wrong = [value for at, value in enumerate(row.tolist()) if at not in answers]
        best = max(row[at].item() for at in answers)
        found.append(sorted([*wrong, best], reverse=True).index(best) + 1)
    return found


@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 10**6), st.integers(1, 400))
def test_as_sorting_says_whatever_the_block(queries: int, gallery: int, seed: int, entries: int) -> None:
    asked, answers = vectors(queries, seed), vectors(gallery, seed + 1)
    draw = torch.Generator().manual_seed(seed)
    right = [torch.randperm(gallery, generator=draw)[: 1 + row % min(3, gallery)].tolist() for row in range(queries)]
    found = ranks(asked, answers, right, entries=entries)
    assert found.tolist() == sorted_ranks(asked @ answers.T, right)
    assert (found <= gallery).all()


def test_a_tie_never_favors_the_truth() -> None:
    """A constant embedder, which tells nothing apart, finds everything last."""
    same = torch.ones(6, 4) / 2
    assert ranks(same, same, [[row] for row in range(6)]).tolist() == [6] * 6
    assert ranks(same, same, [[0, 1, 2, 3, 4, 5]] * 6).tolist() == [1] * 6


def test_one_tie_costs_one_place() -> None:
    gallery = torch.eye(3)[[0, 0, 1]]
    assert ranks(torch.eye(3)[:1], gallery, [[0]]).tolist() == [2]
    assert ranks(torch.eye(3)[:1], gallery, [[0, 1]]).tolist() == [1]


def test_what_is_no_number_is_found_last() -> None:
    gallery = torch.eye(3)
    broken = gallery.clone()
    broken[1] = torch.nan
    assert ranks(torch.eye(3)[:1], broken, [[0]]).tolist() == [2]
    assert ranks(torch.eye(3)[1:2], broken, [[1]]).tolist() == [3]
    assert ranks(torch.full((1, 3), torch.nan), gallery, [[1]]).tolist() == [3]


def test_the_first_are_ranked_anew_and_the_rest_stay_behind() -> None:
    """Cosines put 0, 1, 2, 3 in this order; the second look turns the first two around."""
    gallery = F.normalize(torch.tensor([[4.0, 1], [4, 2], [4, 3], [4, 4]]))
    query = torch.tensor([[1.0, 0]]).expand(4, 2)
    asked: list[tuple[list[int], list[list[int]]]] = []

    def again(queries: Tensor, candidates: Tensor) -> Tensor:
        asked.append((queries.tolist(), candidates.tolist()))
        return candidates.float()

    right = [[0], [1], [2], [3]]
    assert ranks(query, gallery, right).tolist() == [1, 2, 3, 4]
    assert ranks(query, gallery, right, again=again, top=2).tolist() == [2, 1, 3, 4]
    assert asked == [([0, 1, 2, 3], [[0, 1]] * 4)]
    assert ranks(query, gallery, right, again=again, top=9).tolist() == [4, 3, 2, 1]
    assert leading(query[:1], gallery, 3, again, top=2).tolist() == [[1, 0, 2]]
    assert leading(query[:1], gallery, 3).tolist() == [[0, 1, 2]]


def test_a_second_look_that_is_undecided_favors_nobody() -> None:
    def again(queries: Tensor, candidates: Tensor) -> Tensor:
        return torch.zeros(candidates.shape)

    found = ranks(torch.eye(4), torch.eye(4), [[row] for row in range(4)], again=again, top=3)
    assert found.tolist() == [3] * 4


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ([[0]], "1 rows of right answers for 2 queries"),
        ([[0], []], "query 1 has no right answer"),
        ([[0], [3]], r"query 1 is answered by \[3\], of 3 in the gallery"),
        ([[-1], [0]], "query 0 is answered by"),
    ],
)
def test_wrong_answers(right: list[list[int]], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        ranks(torch.eye(3)[:2], torch.eye(3), right)


def test_nobody_asks() -> None:
    assert ranks(torch.zeros(0, 3), torch.eye(3), []).tolist() == []
