"""Three outcomes, ranks in which a tie is no success, and the shares of the votes."""

from dataclasses import replace
from math import nan

import pytest
import torch

from secondlook.decision import Decision, Outcome, Surrogate


def decision(scores: list[list[float]], accepted: list[bool] | None = None) -> Decision:
    table = torch.tensor(scores)
    ones = torch.ones(len(table))
    return Decision(
        outputs=table,
        features=table * 2,
        suspicion=ones / 2,
        votes=table.long(),
        draws=ones.long(),
        accepted=ones.bool() if accepted is None else torch.tensor(accepted),
    )


def test_three_outcomes() -> None:
    seen = decision([[1, 2], [2, 1], [1, 2], [2, 1]], accepted=[True, True, False, False])
    assert seen.outcomes(torch.tensor([1, 1, 1, 1])) == [
        Outcome.CORRECT,
        Outcome.WRONG,
        Outcome.REJECTED,
        Outcome.REJECTED,
    ]
    assert [str(outcome) for outcome in Outcome] == ["correct", "wrong", "rejected"]


@pytest.mark.parametrize(
    ("scores", "first", "second", "third"),
    [
        ([0.1, 0.9, 0.3], [1], [1, 2], [0, 1, 2]),
        ([-0.9, -0.1, -0.3], [1], [1, 2], [0, 1, 2]),
        ([0.5, 0.5, 0.1], [], [0, 1], [0, 1, 2]),
        ([0.5, 0.1, 0.1], [0], [0], [0, 1, 2]),
        ([0.0, 0.0, 0.0], [], [], [0, 1, 2]),
        ([nan, 0.5, 0.1], [], [1], [0, 1, 2]),
        ([nan, nan, nan], [], [], [0, 1, 2]),
    ],
)
def test_a_tie_never_favors_the_named_class(
    scores: list[float], first: list[int], second: list[int], third: list[int]
) -> None:
    seen = decision([scores] * 3)
    for k, expected in enumerate((first, second, third), start=1):
        assert seen.in_top(k, torch.arange(3)).nonzero().flatten().tolist() == expected


def test_a_rejected_input_ranks_nothing() -> None:
    seen = decision([[1, 2], [1, 2]], accepted=[True, False])
    assert seen.in_top(1, torch.tensor([1, 1])).tolist() == [True, False]
    assert seen.in_top(2, torch.tensor([0, 0])).tolist() == [True, False]


@pytest.mark.parametrize("scores", [[nan, 0.5, 0.1], [nan, nan, nan], [0.9, 0.5, nan]])
def test_what_is_no_number_is_never_correct(scores: list[float]) -> None:
    seen = decision([scores] * 3)
    assert seen.outcomes(torch.arange(3)) == [Outcome.WRONG] * 3


def test_what_is_answered_is_scores_or_texts() -> None:
    seen = decision([[1, 2]])
    assert torch.equal(seen.scores, torch.tensor([[1.0, 2.0]]))
    with pytest.raises(AssertionError, match="captioner"):
        _ = seen.texts
    spoken = replace(seen, outputs=["a dog"])
    assert spoken.texts == ["a dog"]
    with pytest.raises(AssertionError, match="texts"):
        _ = spoken.scores


def test_share_counts_the_draws_that_chose_a_class() -> None:
    scores = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [0, 0.2, 0.1], [0.9, 0, 1]]])
    seen = Surrogate(features=scores, scores=scores)
    assert seen.share.tolist() == [[0.25, 0.5, 0.25]]
