"""Captioners: the loop that writes and the likelihood, on one whose probabilities are known."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models.captioner import Captioner, Sentence
from secondlook.models.text.decoding import Decoding, nucleus
from secondlook.randomness import Keys

WORDS = ("red", "green", "blue", "again")
END = len(WORDS)


class Colors(Captioner):
    """Names a color by its share, then the same one or ``again`` at odds of one to three."""

    name, end = "colors", END

    def tokens(self, texts: Sequence[str], prompt: str) -> Sentence:
        rows = [[*map(WORDS.index, text.split()), END] for text in texts]
        longest = max(map(len, rows))
        ids = [row + [0] * (longest - len(row)) for row in rows]
        mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
        return Sentence(torch.tensor(ids), torch.tensor(mask))

    def detokenize(self, ids: Tensor) -> str:
        return " ".join(WORDS[i] for i in ids.tolist())

    def logits(self, x: Tensor, ids: Tensor, prompt: str) -> Tensor:
        first = F.pad((x.mean((2, 3)) + 1e-9).log(), (0, 2), value=-100.0)
        before = F.one_hot(ids[:, :-1], END + 1).to(x)
        odds = before + 3 * F.one_hot(torch.tensor(END - 1), END + 1)
        stop = F.one_hot(torch.tensor(END), END + 1) * 200.0 - 100
        later = torch.where(ids[:, :-1, None] < END - 1, (odds + 1e-9).log(), stop)
        return torch.cat([first[:, None], later], dim=1)


def color(red: float, green: float, blue: float, n: int = 1) -> Tensor:
    return torch.tensor([red, green, blue])[:, None, None].expand(n, 3, 4, 4)


def keys(n: int) -> Keys:
    return Keys.of(0, range(n))


def test_greedy_takes_the_likeliest_word_until_the_end() -> None:
    x = torch.cat([color(0.1, 0.2, 0.7), color(0.5, 0.3, 0.2)])
    assert Colors().caption(x, keys(2)) == ["blue again", "red again"]
    assert Colors().caption(x, keys(2), length=1) == ["blue", "red"]


def test_random_words_come_as_often_as_they_are_likely() -> None:
    n = 2000
    said = Colors().caption(color(0.6, 0.3, 0.1, n), keys(n), style="sample", length=2)
    first = [text.split()[0] for text in said]
    for word, share in zip(WORDS, (0.6, 0.3, 0.1), strict=False):
        assert first.count(word) / n == pytest.approx(share, abs=0.035)
    again = [text.split()[1:] == ["again"] for text in said]
    assert sum(again) / n == pytest.approx(0.75, abs=0.035)


def test_temperature_and_nucleus_change_the_odds() -> None:
    n = 2000
    x = color(0.6, 0.3, 0.1, n)
    cold = Colors().caption(x, keys(n), style="sample", length=1, temperature=0.5)
    assert cold.count("red") / n == pytest.approx(0.36 / 0.46, abs=0.035)
    narrow = Colors().caption(x, keys(n), style="sample", length=1, top_p=0.8)
    assert narrow.count("red") / n == pytest.approx(2 / 3, abs=0.035)
    assert "blue" not in narrow
    assert set(Colors().caption(x, keys(n), style="sample", length=1, top_p=0.5)) == {"red"}


def test_the_nucleus_is_the_fewest_tokens_that_hold_the_share() -> None:
    scores = torch.tensor([[0.5, 0.15, 0.05, 0.3]]).log()
    for share, kept in ((0.4, 1), (0.6, 2), (0.9, 3), (0.99, 4), (1.0, 4)):
        assert int(nucleus(scores, share).isfinite().sum()) == kept


def test_a_samples_text_is_its_own() -> None:
    x = color(0.4, 0.3, 0.3, 12)
    together = Colors().caption(x, keys(12), style="sample")
    alone = [Colors().caption(x[:1], keys(12)[r : r + 1], style="sample")[0] for r in range(12)]
    assert together == alone
    assert len(set(together)) > 1


def test_the_likelihood_is_the_mean_log_probability_of_the_tokens() -> None:
    x = torch.cat([color(0.6, 0.3, 0.1), color(0.2, 0.2, 0.6)]).requires_grad_(True)
    with counting() as ledger:
        found = Colors().likelihood(x, ["red again", "blue blue blue again"])
        (gradient,) = torch.autograd.grad(found.sum(), x)
    assert (ledger.forwards, ledger.backwards) == (2, 2)
    expected = torch.tensor([0.6 * 0.75, 0.6 * 0.25 * 0.25 * 0.75]).log() / torch.tensor([3, 5])
    assert torch.allclose(found, expected, atol=1e-5)
    # d/dx of (log mean red - log(red + green + blue)) / 3 over 16 pixels.
    assert torch.allclose(gradient[0, 0], torch.full((4, 4), (1 / 0.6 - 1) / 3 / 16), atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"style": "nucleus"}, "write greedy, beam, sample"),
        ({"temperature": 0.0}, "write style='greedy' for none"),
        ({"top_p": 0.0}, "outside"),
        ({"length": 0}, "write 1 or more"),
    ],
)
def test_numbers_out_of_range_are_told(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Decoding(**wrong)  # type: ignore[arg-type]


def test_what_cannot_be_done_is_told() -> None:
    x = color(0.5, 0.5, 0)
    with pytest.raises(InvalidInput, match="style='beam' chooses no single token"):
        Decoding(style="beam").choose(torch.zeros(1, 2), keys(1), 0)
    with pytest.raises(InvalidInput, match=r"1 image\(s\) need as many texts"):
        Colors().likelihood(x, "red")
    assert Colors().caption(x[:0], keys(0)) == []
    assert Colors().likelihood(x[:0], []).shape == (0,)


def test_beams_write_what_is_likeliest_as_a_whole() -> None:
    """``red`` alone is likelier than ``blue``, and both end alike: one text is compared whole."""
    x = torch.cat([color(0.4, 0.35, 0.25), color(0.2, 0.2, 0.6)])
    assert Colors().caption(x, keys(2), style="beam", beams=2) == ["red again", "blue again"]


def test_several_texts_of_an_image_are_weighed_as_each_by_itself() -> None:
    x = torch.cat([color(0.6, 0.3, 0.1), color(0.2, 0.2, 0.6)])
    texts = [("red again", "blue again", "red red again"), ("blue again", "red", "again")]
    found = Colors().score_texts(x, texts)
    single = [[float(Colors().likelihood(x[r : r + 1], [t])) for t in texts[r]] for r in range(2)]
    assert torch.allclose(found.likelihood, torch.tensor(single), atol=1e-6)
    assert found.greedy.tolist() == [[True, False, False], [True, False, False]]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([("red",)], r"2 image\(s\) need as many rows"),
        ([("red",), ("red", "blue")], "rows of \\[1, 2\\]"),
        ([(), ()], "rows of \\[0, 0\\]"),
        (["red", "blu"], "is a list of texts|of one length"),
        ([("red",), (" ",)], "none of them empty"),
    ],
)
def test_rows_of_texts_that_do_not_fit_are_told(texts: list[tuple[str, ...]], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Colors().score_texts(color(0.5, 0.5, 0, 2), texts)
