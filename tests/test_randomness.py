"""Draws belong to a sample and a purpose, and to nothing else."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from tests.analytic import global_generators

IDS = [f"image-{i}.png" for i in range(12)]
GOLDEN = [2967143409534383690, 7338960778012534824]
Draw = Callable[[Keys], Tensor]
DRAWS: dict[str, Draw] = {
    "normal": lambda keys: keys.normal((3, 5, 5)),
    "uniform": lambda keys: keys.uniform((7,)),
    "integers": lambda keys: torch.tensor(keys.integers(1000)),
    "folded": lambda keys: keys.fold("attack", 3).normal((4,)),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
@pytest.mark.parametrize("rows", [[3], [0, 1, 2], [11, 2, 7, 5], list(reversed(range(12)))], ids=len)
def test_a_draw_is_the_same_in_any_company(draw: Draw, rows: Sequence[int]) -> None:
    everyone = draw(Keys.of(0, IDS))
    some = draw(Keys.of(0, [IDS[row] for row in rows]))
    assert torch.equal(some, everyone[list(rows)])
    assert torch.equal(draw(Keys.of(0, IDS)[torch.tensor(rows)]), some)


def test_rows_are_taken_by_slice_mask_and_index() -> None:
    keys = Keys.of(0, IDS)
    mask = torch.tensor([i % 3 == 0 for i in range(12)])
    for rows in (slice(0, 12, 3), mask, mask.numpy(), torch.nonzero(mask).flatten()):
        assert keys[rows].words.tolist() == keys.words[::3].tolist()
    assert len(keys[mask]) == 4


def test_a_draw_can_be_drawn_again() -> None:
    keys = Keys.of(0, IDS)
    first = keys.normal((2,))
    keys.fold("other").normal((9,))
    assert torch.equal(first, keys.normal((2,)))


def test_keys_stay_what_they_were_in_stored_runs() -> None:
    words = Keys.of(7, ["a.png", 5]).fold("pgd", 3).words
    assert [int(word) for word in words] == GOLDEN


def test_seed_name_and_purpose_each_give_other_draws() -> None:
    keys = Keys.of(0, IDS)
    others = [
        keys,
        Keys.of(1, IDS),
        Keys.of(0, range(12)),
        Keys.of(0, [str(i) for i in range(12)]),
        keys.fold("a"),
        keys.fold("b"),
        keys.fold("a", "b"),
        keys.fold("b", "a"),
        keys.fold("ab"),
        keys.fold(1),
        keys.fold("1"),
        keys.fold("draw", 1),
        keys.fold("draw", 11),
    ]
    words = [int(word) for each in others for word in each.words]
    assert len(set(words)) == len(words) == 12 * len(others)


def test_folding_step_by_step_is_folding_at_once() -> None:
    keys = Keys.of(0, IDS)
    assert keys.fold("step", 3).words.tolist() == keys.fold("step").fold(3).words.tolist()


@pytest.mark.parametrize(("draws", "first"), [(1, 0), (4, 0), (3, 4)])
def test_repeated_keys_are_the_folded_ones(draws: int, first: int) -> None:
    keys = Keys.of(0, IDS)
    repeated = keys.repeat(draws, first)
    assert len(repeated) == draws * len(IDS)
    for draw in range(draws):
        folded = keys.fold("draw", first + draw)
        assert repeated.words[draw::draws].tolist() == folded.words.tolist()


def test_no_global_generator_is_touched() -> None:
    before = global_generators()
    for draw in DRAWS.values():
        draw(Keys.of(0, IDS))
    assert global_generators() == before


def test_draws_take_shape_and_type_of_their_like() -> None:
    keys = Keys.of(0, IDS[:2])
    like = torch.zeros(2, 3, dtype=torch.float64)
    assert keys.normal((3,), like=like).dtype == torch.float64
    assert torch.equal(keys.normal((3,), like=like).float(), keys.normal((3,)))
    assert keys.uniform((0,)).shape == (2, 0)
    assert keys[:0].normal((3, 2)).shape == (0, 3, 2)


def test_moments_are_those_of_the_distribution() -> None:
    keys = Keys.of(0, range(500))
    normal, uniform = keys.normal((100,)), keys.uniform((100,))
    five_sigma = 5 / 50_000**0.5
    assert abs(normal.mean()) < five_sigma
    assert abs(normal.var() - 1) < five_sigma * 2**0.5
    assert abs(uniform.mean() - 1 / 2) < five_sigma / 12**0.5
    assert 0 <= float(uniform.min()) < 0.001
    assert 0.999 < float(uniform.max()) < 1
    # Neighbors share a seed and a purpose, and yet nothing else.
    assert abs((normal[:-1] * normal[1:]).mean()) < five_sigma
    assert abs((normal * keys.fold("other").normal((100,))).mean()) < five_sigma
    counts = np.bincount(keys.integers(5), minlength=5)
    assert len(counts) == 5
    assert abs(counts - 100).max() < 5 * 80**0.5


def test_a_moment_of_its_own_gives_each_sample_its_own_keys() -> None:
    keys, moments = Keys.of(0, IDS), torch.arange(12) % 4
    found = keys.at(moments).words.tolist()
    assert found == [keys[i : i + 1].at(moments[i : i + 1]).words.tolist()[0] for i in range(12)]
    words = {word for moment in range(50) for word in keys.at(moments * 0 + moment).words.tolist()}
    assert len(words | set(keys.words.tolist())) == 51 * 12


@pytest.mark.parametrize("seed", [-1, True, 0.5, "1", None, float("nan")])
def test_a_seed_is_a_whole_number_from_0(seed: object) -> None:
    with pytest.raises(InvalidInput, match=r"^seed=.*write 0 or more$"):
        Keys.of(seed, ["a"])  # type: ignore[arg-type]


def test_a_seed_of_numpy_is_that_of_python() -> None:
    assert (Keys.of(np.int64(3), ["a"]).words == Keys.of(3, ["a"]).words).all()  # type: ignore[arg-type]
