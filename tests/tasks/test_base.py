"""What every task shares: records of several answers, and values that JSON can hold."""

import torch

from secondlook.tasks.base import finite, mean_records


def test_a_suspicion_is_of_one_answer_and_shares_are_of_all() -> None:
    looks = [
        [{"suspicion": 0.1, "rejected": 0.0, "success": 1.0, "text": "a", "claims": 1}],
        [{"suspicion": 0.9, "rejected": 1.0, "success": 0.0, "text": "b", "claims": 3}],
    ]
    (row,) = mean_records(looks)
    assert (row["suspicion"], row["rejected"], row["success"]) == (0.1, 0.5, 0.5)
    assert (row["text"], row["claims"], row["success_worst"]) == ("a", 1, 1.0)


def test_values_that_json_cannot_hold_become_null() -> None:
    values = torch.tensor([0.5, float("nan"), float("inf"), -float("inf")])
    assert finite(values) == [0.5, None, None, None]
    assert finite(torch.tensor([1, 2])) == [1, 2]
