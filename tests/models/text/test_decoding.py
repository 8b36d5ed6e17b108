"""Writing token by token: what beams keep, on a language whose odds are known."""

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.models.text.decoding import Decoding, Scores, generate_tokens
from secondlook.randomness import Keys

END, WORDS, LENGTH = 3, 4, 4
PLACE = torch.empty(0)


def chain(seed: int) -> Tensor:
    """Log-odds of the next word after each of the words and, last, at the start."""
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(WORDS + 1, WORDS, generator=generator)).log_softmax(-1)


def scores(tables: list[Tensor], width: int) -> Scores:
    """One language for each sample, asked for the next word of all of its texts."""

    def asked(ids: Tensor) -> Tensor:
        last = F.pad(ids, (1, 0), value=WORDS)[:, -1].view(len(tables), width)
        rows = [table[words] for table, words in zip(tables, last, strict=True)]
        return torch.cat(rows)

    return asked


def mean_odds(table: Tensor, text: tuple[int, ...]) -> float:
    before = (WORDS, *text[:-1])
    return sum(float(table[b, a]) for b, a in zip(before, text, strict=True)) / len(text)


def ended(text: tuple[int, ...]) -> tuple[int, ...]:
    return text[: text.index(END) + 1] if END in text else text


def beams(tables: list[Tensor], width: int) -> list[tuple[int, ...]]:
    decoding = Decoding(style="beam", beams=width, length=LENGTH)
    made = generate_tokens(scores(tables, width), Keys.of(0, range(len(tables))), decoding, END, PLACE)
    return [ended(tuple(row)) for row in made.tolist()]


def test_enough_beams_find_the_best_of_all_texts() -> None:
    tables = [chain(seed) for seed in range(12)]
    for table, found in zip(tables, beams(tables, WORDS**LENGTH), strict=True):
        texts = {ended(text) for text in product(range(WORDS), repeat=LENGTH)}
        best = max(texts, key=lambda text: mean_odds(table, text))
        assert mean_odds(table, found) == pytest.approx(mean_odds(table, best), abs=1e-6)


def test_one_beam_is_greedy() -> None:
    tables = [chain(seed) for seed in range(20)]
    greedy = generate_tokens(scores(tables, 1), Keys.of(0, range(20)), Decoding(length=LENGTH), END, PLACE)
    assert beams(tables, 1) == [ended(tuple(row)) for row in greedy.tolist()]


def test_a_second_beam_keeps_what_is_worth_more_later() -> None:
    """0 is likelier than 1, but what follows 0 is a guess, and what follows 1 is the end."""
    table = torch.full((WORDS + 1, WORDS), -20.0)
    table[WORDS, :2] = torch.tensor([0.6, 0.4]).log()
    table[0] = torch.full((WORDS,), 0.25).log()
    table[1, END] = 0.0
    (greedy,), (wide,) = beams([table], 1), beams([table], 2)
    assert greedy[0] == 0 and wide == (1, END)


def test_a_text_that_has_ended_stays_as_it_is() -> None:
    """With two beams and a language that never wants to go on, one sample waits for the other."""
    short = torch.full((WORDS + 1, WORDS), -9.0)
    short[:, END] = 0.0
    assert beams([short, chain(3)], 2)[0] == (END,)


def test_samples_do_not_feel_each_other() -> None:
    tables = [chain(seed) for seed in range(6)]
    assert beams(tables, 3) == [beams([table], 3)[0] for table in tables]
