"""An audit as a real one would be: two worlds, sweeps, a withheld headline, hostile names."""

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from secondlook.scenes.source import CAVEAT
from secondlook.schema import (
    Audit,
    Cell,
    Check,
    Cosine,
    Cost,
    Diagnosis,
    Headline,
    MannerResult,
    Metric,
    Outcomes,
    Slopes,
    ThreatRow,
    Vote,
)
from secondlook.statistics import majority_bound, wilson
from secondlook.tasks.classification import Ballot, ClassExample

HOSTILE = "<script>alert(1)</script> & \"[red]'x"
TASK, MODEL = "zeroshot scenes:test", "scenes:clip"
CHECKS = ("gradient is finite", "loss rises", "eps 1 breaks it", "enough samples")


def share(value: float, n: int = 100) -> Metric:
    found = wilson(value * n, n)
    return Metric(value=found.value, low=found.low, high=found.high)


def cell(knowledge: str, hit: float, kept: float, **changes: Any) -> Cell:
    """A row by its two chief shares; all else may be changed."""
    n = changes.pop("n", 100)
    eps = changes.pop("eps", 0.0 if knowledge == "clean" else 8 / 255)
    steps, samples = changes.pop("steps", 100), changes.pop("samples", 10)
    defense = changes.pop("defense", "consensus scenes:vae")
    rejected = changes.pop("rejected", 0)
    correct = min(round(kept * n), n - rejected)
    attack = "none" if knowledge == "clean" else "illusion"
    generated = {} if knowledge == "clean" else {"name": attack, "steps": steps, "step": 0.00537}
    if knowledge == "adaptive":
        generated |= {"draws": 4, "gradient": "full"}
    fields: dict[str, Any] = {
        "id": f"{knowledge}-{defense}-{eps:.4f}-{steps}-{samples}-{changes.get('model', MODEL)}",
        "task": TASK,
        "model": MODEL,
        "defense": defense,
        "attack": attack,
        "knowledge": knowledge,
        "threat": ThreatRow(norm="linf", eps=eps),
        "n": n,
        "metrics": {
            "target_top1": share(hit, n),
            "target_top5": share(min(1, hit + 0.05), n),
            "original_top1": share(kept, n),
            "original_top5": share(min(1, kept + 0.04), n),
            "cosine_target": Metric(value=0.1 + hit / 2, low=hit / 2, high=0.2 + hit / 2, sd=0.08),
            "cosine_clean_image": Metric(value=0.874, low=0.862, high=0.886, sd=0.061),
        },
        "outcomes": Outcomes(correct=correct, wrong=n - correct - rejected, rejected=rejected),
        "ledger": Cost(
            forwards=11 * n,
            backwards=0,
            seconds=0.83,
            overhead=12.4,
            peak_memory=900 * 2**20,
            attack_forwards=steps * n,
            attack_backwards=steps * n,
            attack_seconds=75.2,
        ),
        "health": [Check(check=name, status="pass", detail="as it should") for name in CHECKS],
        "settings": {"defense": {"name": defense.split()[0], "purifier": "x", "samples": samples}, "attack": generated},
        "resolution": [64, 64],
    }
    return Cell(**(fields | changes))


def headline(cells: list[Cell], **changes: Any) -> Headline:
    """Over all attack rows among ``cells``."""
    clean, *attacks = cells
    fields: dict[str, Any] = {
        "task": clean.task,
        "model": clean.model,
        "defense": clean.defense,
        "threat": attacks[-1].threat if attacks else clean.threat,
        "n": clean.n,
        "clean_original_top1": clean.metrics["original_top1"],
        "worst_target_top1": max(
            (row.success for row in attacks if row.success), key=lambda m: m.value, default=share(0)
        ),
        "worst_original_top1": min((row.metrics["original_top1"] for row in cells), key=lambda m: m.value),
        "rows": [row.id for row in attacks],
        "status": "shown",
        "reasons": [],
    }
    return Headline(**(fields | changes))


def vote(eta: float, captured: float, n: int = 10) -> Vote:
    return Vote(
        votes=n,
        eta=eta,
        captured=captured,
        bound=0.5 * (captured + eta),
        pooled_bound=majority_bound(eta, n),
        histogram=[31, 9, 5, 3, 2, 4, 6, 9, 13, 18],
    )


def diagnosed(**changes: Any) -> Diagnosis:
    """Of a defense whose gradient leads nowhere, while the bare replay takes most samples."""
    manners = {
        "bare": MannerResult(robust=share(0.125, 8), rise=0.61, size=1.0, zero=0.0, tiny=0.0, first=share(0.4)),
        "as-is": MannerResult(robust=share(0.875, 8), rise=-0.001, size=1.7e-15, zero=0.25, tiny=1.0, first=share(0.1)),
        "gate taken away": MannerResult(note="nothing is ever rejected"),
        "queries": MannerResult(robust=share(0.5, 8), rise=0.2),
        "bare, targeted margin": MannerResult(first=share(0.13)),
    }
    found = Diagnosis(
        verdict="masked",
        sentence="The gradient through this defense does not show where it fails.",
        reasons=["the bare model's attack: 7 of 8 samples; the gradient as it is: 1 (p = 0.016)"],
        n=8,
        manners=manners,
        cosines=[Cosine(between=("bare", "as-is"), start=-0.304, end=None)],
        slopes=[
            Slopes(along="as-is", measured=0.0, by_gradient=0.0, hidden=0.0),
            Slopes(along="bare", measured=17.2, by_gradient=3e-14, hidden=1.0),
        ],
        forwards=320,
        backwards=160,
    )
    return found.model_copy(update=changes)


def failed(name: str, detail: str) -> list[Check]:
    checks = [Check(check=each, status="pass", detail="as it should") for each in CHECKS]
    checks[CHECKS.index(name)] = Check(check=name, status="fail", detail=detail)
    checks[3] = Check(check="enough samples", status="warn", detail="n=100: ± 10 points at most")
    return checks


def matrix() -> list[list[Cell]]:
    """The rows of the default audit, defense by defense; the clean row first."""
    diffusion, jpeg, ae = "consensus scenes:diffusion", "jpeg", "consensus scenes:ae"
    return [
        [
            cell(k, hit, kept, defense="undefended")
            for k, hit, kept in (("clean", 0.01, 0.97), ("oblivious", 0.98, 0.01))
        ],
        [
            cell(k, hit, kept, defense=jpeg)
            for k, hit, kept in (("clean", 0.01, 0.96), ("oblivious", 0.41, 0.38), ("adaptive", 0.97, 0.02))
        ],
        [
            cell("clean", 0, 0.93, defense=ae),
            cell("oblivious", 0.02, 0.84, defense=ae),
            cell("adaptive", 0.94, 0.03, defense=ae, health=failed("loss rises", "the loss fell on 31 of 100 samples")),
        ],
        [
            cell("clean", 0, 0.94, rejected=3),
            cell("oblivious", 0, 0.86, rejected=9, vote=vote(0.04, 0.0)),
            cell("transfer", 0, 0.85, rejected=8, surrogates=["scenes:clip-vit"]),
            cell("adaptive", 0.63, 0.21, rejected=12, vote=vote(0.58, 0.63), diagnosis=diagnosed()),
        ],
        [
            cell("clean", 0, 0.91, defense=diffusion),
            cell("oblivious", 0.01, 0.82, defense=diffusion, vote=vote(0.05, 0.01)),
            cell(
                "adaptive",
                0.18,
                0.55,
                defense=diffusion,
                vote=vote(0.24, 0.18),
                health=[Check(check="enough samples", status="warn", detail="n = 100")],
            ),
        ],
    ]


def sweeps() -> list[Cell]:
    """An eps × steps grid on the bare model, and a sweep of N on a consensus."""
    grid = [
        cell(
            "oblivious",
            hit * reach,
            1 - hit * reach,
            defense="undefended",
            eps=eps / 255,
            steps=steps,
            model="scenes:clip-vit",
        )
        for eps, hit in ((1, 0.18), (2, 0.44), (4, 0.81), (8, 0.97), (16, 1.0), (32, 1.0))
        for steps, reach in ((10, 0.6), (50, 0.9), (300, 1.0))
    ]
    votes = [
        cell(knowledge, base + gain / n, keep - loss / n, samples=n, model="scenes:clip-vit")
        for n in (1, 3, 5, 10, 15, 20)
        for knowledge, base, gain, keep, loss in (
            ("clean", 0.0, 0.0, 0.95, 0.07),
            ("oblivious", 0.0, 0.05, 0.88, 0.12),
            ("adaptive", 0.55, 0.3, 0.3, 0.2),
        )
    ]
    return grid + votes


@pytest.fixture(scope="session")
def make_cell() -> Callable[..., Cell]:
    return cell


@pytest.fixture(scope="session")
def make_headline() -> Callable[..., Headline]:
    return headline


@pytest.fixture(scope="session")
def hostile() -> str:
    return HOSTILE


@pytest.fixture(scope="session")
def audit() -> Audit:
    groups = matrix()
    lost = headline(
        groups[2], status="withheld", reasons=["loss rises: the loss fell on 31 of 100 samples of the adaptive row"]
    )
    headlines = [lost if i == 2 else headline(group) for i, group in enumerate(groups)]
    odd = cell("oblivious", float("nan"), 0.5, defense=HOSTILE, model="photos-lit", task="zeroshot flickr8k:x")
    return Audit(
        study="default",
        title="Illusions and consensus in the embedded world",
        provenance={
            "command": "secondlook audit",
            "seed": 0,
            "config": "9f2c4e0b7a1d3355",
            "versions": {"secondlook": "0.1.0", "torch": "2.13.0", "python": "3.11.2"},
            "models": {"scenes:clip": "5e1f0c88aa92b3d1", HOSTILE: "00"},
            "device": "cpu, 2 cores",
            "caveat": CAVEAT,
        },
        cells=[row for group in groups for row in group] + sweeps() + [odd],
        headline=headlines,
    )


@pytest.fixture(scope="session")
def photographs() -> Audit:
    """Nothing of the embedded world; a single, unnamed study."""
    rows = [
        cell(k, hit, kept, task="zeroshot imagenet:x", model="file:vit.pt2", n=1000)
        for k, hit, kept in (("clean", 0.0, 0.812), ("oblivious", 0.0, 0.7))
    ]
    return Audit(study="photographs", title="", provenance={}, cells=rows, headline=[headline(rows)])


def png(draw: Callable[[ImageDraw.ImageDraw], None], noise: float, seed: int) -> str:
    picture = Image.new("RGB", (64, 64), (206, 214, 226))
    draw(ImageDraw.Draw(picture))
    grain = np.random.default_rng(seed).normal(0, noise, (64, 64, 3))
    pixels = np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def circle(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse((14, 16, 46, 48), fill=(198, 52, 48))


def nothing(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle((0, 0, 64, 64), fill=(128, 128, 128))


@pytest.fixture(scope="session")
def examples() -> list[ClassExample]:
    """Twelve, of incompressible pictures; the last with a hostile name."""
    ends = (
        ("adaptive", "blue star", "wrong"),
        ("oblivious", "red circle", "correct"),
        ("adaptive", "red circle", "rejected"),
    )
    made = [
        ClassExample(
            task="zeroshot",
            model=MODEL,
            attack="illusion",
            sample=f"test/{i}",
            defense="consensus scenes:vae",
            knowledge=knowledge,
            truth="red circle",
            target="blue star",
            clean=png(circle, 4, i),
            perturbation=png(nothing, 60, i),
            adversarial=png(circle, 9, i),
            reconstructions=[png(circle, 3, 100 * i + j) for j in range(4)],
            undefended_answer="blue star",
            answer=answer,
            outcome=outcome,
            votes=[
                Ballot(label="blue star", votes=7 if outcome == "wrong" else 1),
                Ballot(label="red circle", votes=2),
                Ballot(label="red ring", votes=1),
            ],
        )
        for i in range(12)
        for knowledge, answer, outcome in [ends[i % 3]]
    ]
    made[-1] = made[-1].model_copy(update={"truth": HOSTILE, "answer": HOSTILE, "votes": []})
    return made
