"""The gallery: what the attack changed, what the purifier made of it, and how the vote fell."""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from secondlook.audit.craft import crafted
from secondlook.audit.exhibit import Ballot, Exhibit
from secondlook.audit.matrix import CellPlan, Plan
from secondlook.audit.store import Run
from secondlook.decision import Decision
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.undefended import Undefended
from secondlook.models.base import evaluating
from secondlook.tasks.zeroshot import Batch

SHOWN = 4
"""Reconstructions in a row of the gallery."""
THUMBNAIL = 96


def picture(x: Tensor) -> str:
    """``[3, H, W]`` in [0, 1] as base64 of a PNG, no larger than a thumbnail."""
    pixels = (x.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    held = io.BytesIO()
    image.save(held, format="PNG", optimize=True)
    return base64.b64encode(held.getvalue()).decode()


def magnified(delta: Tensor) -> Tensor:
    """A change of pixels around grey, at full contrast."""
    return 0.5 + 0.5 * delta / delta.abs().amax().clamp_min(1e-6)


def exhibits(plan: Plan, run: Run) -> list[Exhibit]:
    """Some samples of the first chunk, each with another of the defences that reconstruct."""
    cells = _worth_showing(plan)
    if not cells:
        return []
    size = plan.study.batch
    rows = plan.task.rows[:size]
    number = min(plan.study.exhibits, len(rows))
    shown = []
    for index in range(number):
        cell = cells[index % len(cells)]
        path = run.adversarial(cell.forge.id, 0) if cell.forge else None
        if path is not None and path.exists():
            shown.append(_exhibit(plan, run, cell, rows, index))
    return shown


def _worth_showing(plan: Plan) -> list[CellPlan]:
    """Cells of reconstructing defences at the largest eps, one for each label and knowledge."""
    attacked = [c for c in plan.cells if c.forge and isinstance(c.defence, Consensus)]
    eps = max((c.forge.threat.eps for c in attacked if c.forge), default=0.0)
    found: dict[tuple[str, str], CellPlan] = {}
    for cell in attacked:
        if cell.forge and cell.forge.threat.eps == eps:
            found[(cell.label, cell.knowledge)] = cell
    return list(found.values())


def _exhibit(plan: Plan, run: Run, cell: CellPlan, rows: tuple[int, ...], index: int) -> Exhibit:
    defence = cell.defence
    assert isinstance(defence, Consensus) and cell.forge is not None
    whole = plan.task.batch(rows, defence.model)
    adversarial = crafted(plan, run, cell.forge, whole, 0).images[index : index + 1]
    clean, keys = whole.images[index : index + 1], whole.keys[index : index + 1].fold("decide", 0)
    draws = min(SHOWN, defence.votes)
    with torch.no_grad(), evaluating(defence.modules):
        many = adversarial.repeat_interleave(draws, 0)
        made = defence.eye.purify(many, keys.repeat(draws))
    decision = defence.decide(adversarial, keys)
    first = Undefended(model=defence.model).decide(adversarial, keys)
    return _written(cell, whole, index, (clean[0], adversarial[0], made), decision, first)


def _written(
    cell: CellPlan, batch: Batch, index: int, images: tuple[Tensor, Tensor, Tensor],
    decision: Decision, first: Decision,
) -> Exhibit:  # fmt: skip
    clean, adversarial, made = images
    classes = cell.defence.model.classes
    votes = decision.votes[0]
    leading = votes.argsort(descending=True, stable=True)[:4].tolist()
    return Exhibit(
        sample=batch.ids[index], defence=cell.label, knowledge=cell.knowledge,
        truth=classes[int(batch.truth[index])],
        target=classes[int(batch.target[index])] if cell.targeted else "",
        clean=picture(clean), perturbation=picture(magnified(adversarial - clean)),
        adversarial=picture(adversarial), reconstructions=[picture(each) for each in made],
        undefended_answer=classes[int(first.answer[0])],
        answer=classes[int(decision.answer[0])],
        outcome=str(decision.outcomes(batch.truth[index : index + 1].to(votes.device))[0]),
        votes=[Ballot(label=classes[i], votes=int(votes[i])) for i in leading if votes[i] > 0],
    )  # fmt: skip
