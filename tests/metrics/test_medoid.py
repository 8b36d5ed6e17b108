"""The text that has most in common with the others."""

from secondlook.metrics.medoid import medoid


def test_the_majority_wins_and_the_first_of_equals() -> None:
    assert medoid(["a red cat", "a blue dog", "a red cat"]) == 0
    assert medoid(["a blue dog", "a red cat", "a red cat"]) == 1
    assert medoid(["x", "y", "z"]) == 0
    assert medoid(["alone"]) == 0


def test_who_is_between_the_others_wins_without_a_majority() -> None:
    said = ["a red cat on a mat", "a red cat on a chair", "a blue dog on a chair"]
    assert medoid(said) == 1


def test_longer_runs_count() -> None:
    """All words of the first are in both others, none of its runs; the last two share runs."""
    assert medoid(["d c b a", "a b c d e", "a b c d f"]) == 1


def test_nothing_said_is_alike() -> None:
    assert medoid(["", "", "a"]) == 0
