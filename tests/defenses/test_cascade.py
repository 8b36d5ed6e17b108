"""A cascade decides as the whole stack does, and asks no one about what is rejected already."""

import pytest
import torch

from secondlook.data import load as open_source
from secondlook.defenses.cascade import cascade, stages
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.stack import Stack
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models import load
from secondlook.randomness import Keys
from secondlook.registry import build

_SAMPLES = {"calibrate_samples": 120, "false_rejection": 0.1}


@pytest.fixture(scope="module")
def guarded() -> Guarded:
    """A classifier behind three detectors and a vote."""
    made = Stack(stack=["squeezing", "magnet", "multishield", {"name": "noise", "samples": 3}], **_SAMPLES)
    return Guarded(load("scenes:classifier"), made)


def images(count: int) -> torch.Tensor:
    """Scenes, every third of them with noise that a detector sees."""
    clean = open_source("scenes:test").read(range(count), None).images
    noise = torch.rand(clean.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    loud = torch.arange(count) % 3 == 0
    return torch.where(loud[:, None, None, None], clean + noise, clean).clamp(0, 1)


def test_it_decides_as_the_stack(guarded: Guarded) -> None:
    x, keys = images(24), Keys.of(1, range(24))
    whole, found = guarded.decide(x, keys), cascade(guarded, x, keys)
    assert found.accepted.tolist() == whole.accepted.tolist()
    assert 0 < int(found.accepted.sum()) < 24
    answered = found.accepted[found.rows]
    assert found.answers is not None
    assert found.answers.answer[answered].tolist() == whole.answer[whole.accepted].tolist()
    assert torch.allclose(found.suspicion[found.accepted], whole.suspicion[whole.accepted], atol=1e-4)


def test_an_input_leaves_at_the_first_that_rejects(guarded: Guarded) -> None:
    x, keys = images(12), Keys.of(1, range(12))
    found, names = cascade(guarded, x, keys), [stage.name for stage in stages(guarded)]
    assert len(names) == 3 and names[0].startswith("squeezing")
    for row, last in enumerate(found.last.tolist()):
        reached = ~found.each[row].isnan()
        assert reached.tolist() == [at <= last for at in range(3)]
        if last < 3:
            assert float(found.each[row, last]) > guarded.threshold
    early = found.last < 2
    assert bool(early.any()) and not bool(early[found.rows].any()), "the model was asked about a rejected input"


def test_what_leaves_early_costs_less(guarded: Guarded) -> None:
    guarded.prepare()
    loud = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with counting() as taken:
        found = cascade(guarded, loud, Keys.of(0, range(6)))
    with counting() as whole:
        guarded.decide(loud, Keys.of(0, range(6)))
    assert not bool(found.accepted.any()) and found.answers is None
    assert taken.forwards < whole.forwards / 2


def test_batches_do_not_matter(guarded: Guarded) -> None:
    x, keys = images(9), Keys.of(1, range(9))
    whole = cascade(guarded, x, keys)
    for start in range(0, 9, 4):
        part = cascade(guarded, x[start : start + 4], keys[start : start + 4])
        assert part.last.tolist() == whole.last[start : start + 4].tolist()


def test_fixed_thresholds_decide_as_calibrated_ones(guarded: Guarded) -> None:
    x, keys = images(12), Keys.of(1, range(12))
    for each in (guarded, Guarded(load("scenes:classifier"), build("defense", "multishield", _SAMPLES))):
        fixed = each.fixed
        assert fixed.calibration is None and fixed.threshold == each.threshold
        assert torch.equal(fixed.decide(x, keys).accepted, each.decide(x, keys).accepted)
        assert torch.equal(cascade(fixed, x, keys).last, cascade(each, x, keys).last)


def test_a_captioner_is_guarded_too() -> None:
    made = Stack(stack=["magnet", {"name": "mirrorcheck", "encoders": "scenes:clip"}], **_SAMPLES)
    guarded = Guarded(load("scenes:captioner"), made)
    x, keys = images(6), Keys.of(1, range(6))
    whole, found = guarded.decide(x, keys), cascade(guarded, x, keys)
    assert found.accepted.tolist() == whole.accepted.tolist()


def test_what_rejects_nothing_is_no_cascade() -> None:
    with pytest.raises(InvalidInput, match="rejects nothing"):
        stages(Guarded(load("scenes:classifier"), build("defense", "jpeg", {})))
    with pytest.raises(InvalidInput, match="3 keys for 2 inputs"):
        cascade(
            Guarded(load("scenes:classifier"), build("defense", "magnet", _SAMPLES)), images(2), Keys.of(0, range(3))
        )
