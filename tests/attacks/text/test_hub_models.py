"""Candidates from language models of transformers, whatever marks their pieces."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from secondlook.attacks.pairs import Pairs
from secondlook.attacks.text.bert_attack import BERTAttack
from secondlook.attacks.text.candidates import CandidateRules, Candidates
from secondlook.models import load
from secondlook.models.maskedlm import MaskedLM
from secondlook.threat import Threat
from tests.models.test_maskedlm import TEXT, bert, distilbert, roberta
from tests.pairs import Bag, keys, pairs

transformers = pytest.importorskip("transformers")

MAKERS = (bert, distilbert, roberta)


@pytest.fixture(scope="module", params=MAKERS, ids=lambda make: str(make.__name__))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MaskedLM:
    folder: Path = tmp_path_factory.mktemp(request.param.__name__)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        request.param(folder).save_pretrained(folder)
    found: MaskedLM = load(f"hf:{folder}")
    return found


def test_every_candidate_is_one_word(model: MaskedLM) -> None:
    (options,) = Candidates(model, CandidateRules(top=40, threshold=0)).options([TEXT.replace(",", "")])
    assert any(options)
    for candidate in (candidate for row in options for candidate in row):
        assert len(candidate.split()) == 1
        assert candidate.isalnum()
        assert not candidate.startswith(("##", "\u0120", "[", "<"))


def test_the_attack_runs_on_it(model: MaskedLM) -> None:
    given = Pairs(pairs(1).images, (("small cat playing, on dog",),))
    attack = BERTAttack(mlm=model, threshold=0, candidates=40, words=2)
    found = attack(Bag(), given, Threat(), keys(1)).captions[0][0]
    assert len(found.split()) == 5
