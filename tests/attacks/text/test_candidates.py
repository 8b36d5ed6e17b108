"""Candidates for words of several pieces: joined to one word, ranked, capped."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from secondlook.attacks.text.candidates import CandidateRules, Candidates
from secondlook.models.maskedlm import MaskedLM, Piece

TOKENS = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing", "##ed", "walk", "sing", "##s", "x")
PAD, CLS, SEP, GAP = range(4)


class Pieced(MaskedLM):
    """Knows words in pieces; the higher a token's number, the likelier it is, everywhere.

    By itself a phrase is likely where its tokens have low numbers.
    """

    name, mask_id, pad_id, special_ids = "pieced", GAP, PAD, frozenset(range(4))
    word_starts = torch.tensor([n > 3 and not t.startswith("##") for n, t in enumerate(TOKENS)])

    def split(self, text: str) -> Sequence[Piece]:
        row, at = [Piece(CLS, 0, 0)], 0
        for word in text.split():
            at = text.index(word, at)
            head = next((t for t in TOKENS if word.startswith(t) and t != word), word)
            ends = [at + len(head), at + len(word)]
            row.append(Piece(TOKENS.index(head) if head in TOKENS else GAP, at, ends[0]))
            if head != word:
                row.append(Piece(TOKENS.index("##" + word[len(head) :]), *ends))
            at = ends[1]
        return [*row, Piece(SEP, at, at)]

    def detokenize(self, ids: Sequence[int]) -> str:
        return " ".join(TOKENS[number] for number in ids)

    def fill(self, ids: Tensor, mask: Tensor) -> Tensor:
        rising = torch.arange(len(TOKENS), dtype=torch.float32)
        alone = ids[:, 0] != CLS
        scores = rising.expand(*ids.shape, -1).clone()
        scores[alone] = -scores[alone]
        return scores


def options(text: str, **rules: float) -> tuple[tuple[str, ...], ...]:
    return Candidates(Pieced(), CandidateRules(**rules)).options([text])[0]  # type: ignore[arg-type]


def test_pieces_are_joined_and_ranked_beside_whole_words() -> None:
    # Of the best four at either place x, sing and walk begin a word, and s goes on with one. By
    # itself the lowest mean number is the likeliest; "walks" and "sing" have the same.
    (found,) = options("walking", top=5)
    assert found == ("walk", "walks", "sing", "sings", "xs", "x")


def test_only_whole_words_stand_for_a_word_of_one_piece() -> None:
    (found,) = options("play", top=11)
    assert found == ("x", "sing", "walk")


def test_published_phrases_are_words_side_by_side() -> None:
    (found,) = options("walking", top=2, loose=True, preceding=False)
    assert found == ("xs", "x x")


def test_phrases_are_capped() -> None:
    model = Pieced()
    candidates = Candidates(model, CandidateRules(top=10))
    assert len(candidates._combined(torch.tensor([[10, 8, 7, 4]] + [[9, 6, 5, 9]] * 4))) == 24 + 4


def test_batches_do_not_change_candidates() -> None:
    texts = ["walking", "play x walk", "sing walked", "x"] * 20
    candidates = Candidates(Pieced(), CandidateRules(top=5))
    whole = candidates.options(texts)
    assert whole == [Candidates(Pieced(), CandidateRules(top=5)).options([text])[0] for text in texts]


def test_a_full_memory_is_emptied_and_answers_stay_right() -> None:
    candidates = Candidates(Pieced(), CandidateRules(top=5), texts=2)
    for text in ("x", "play", "walking", "x", "play walk"):
        assert candidates.options([text, "sing"])[0] == options(text, top=5)
