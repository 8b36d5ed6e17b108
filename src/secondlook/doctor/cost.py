"""Time and memory of the model on this machine, and the time of the default audit."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor

from secondlook import registry
from secondlook.audit.plan import AttackerTable
from secondlook.audit.study import Study, read, sweep
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.jpeg import Jpeg
from secondlook.doctor.gradients import gradient
from secondlook.doctor.model import ModelUnderTest, Outcome, graded, passed, skipped
from secondlook.errors import SecondlookError
from secondlook.ledger import by_turns, peak_memory
from secondlook.models.base import Classifier, Embedder
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.progress import span
from secondlook.randomness import Keys
from secondlook.tasks.unlabeled import NearestImage
from secondlook.threat import Knowledge, Threat

BATCHES: Final = (1, 8, 32)
_AUDIT_BATCH: Final = 8
_LONGEST = 10.0
_SHARE = 0.5
"""Of the memory that is free: what one batch may take."""


class Pass(NamedTuple):
    """What one batch took, per image.

    Attributes:
        batch: its size.
        forward: seconds.
        gradient: seconds of a forward with the gradient to the pixels; NaN where there is none.
    """

    batch: int
    forward: float
    gradient: float


def passes(subject: ModelUnderTest, held: int) -> tuple[list[Pass], list[str]]:
    """What each batch size took, and the reasons of those that were left out.

    Args:
        subject: the model.
        held: bytes that an image holds for its gradient.
    """
    taken: list[Pass] = []
    for batch in BATCHES:
        x = subject.images[torch.arange(batch) % len(subject.images)]
        if (free := available_memory()) < held * batch:
            need = held * batch / 2**20
            return taken, [f"batch {batch} left out: {need:.0f} of {free / 2**20:.0f} MiB"]
        if taken and batch * max(taken[-1].forward, taken[-1].gradient) > _LONGEST:
            return taken, [f"batch {batch} left out: more than {_LONGEST:g} s a pass"]
        try:
            taken.append(timed(subject, x))
        except SecondlookError:
            raise
        except (MemoryError, RuntimeError) as error:
            return taken, [f"batch {batch} left out: {str(error).splitlines()[0]}"]
    return taken, []


def timed(subject: ModelUnderTest, x: Tensor) -> Pass:
    """Both passes of the batch ``x``, in turns; the median of as many as fit into a few seconds."""
    keys = subject.keys[torch.arange(len(x)) % len(subject.keys)]

    def forward() -> None:
        with torch.no_grad():
            subject.output(x, keys)

    def backward() -> None:
        success.append(_differentiated(subject, x, keys) is not None)

    success: list[bool] = []
    alone, differentiated = (seconds / len(x) for seconds in by_turns(forward, backward))
    return Pass(len(x), alone, differentiated if success[0] else float("nan"))


def _differentiated(subject: ModelUnderTest, x: Tensor, keys: Keys) -> Tensor | None:
    x = x.detach().requires_grad_()
    out = subject.output(x, keys)
    if not out.requires_grad:
        return None
    return torch.autograd.grad(out.sum(), x, allow_unused=True)[0]


def held_bytes(subject: ModelUnderTest) -> int:
    """Bytes that autograd holds for one image, its parameters left out."""
    ours = {p.untyped_storage().data_ptr() for m in subject.modules for p in m.parameters()}
    seen: dict[int, int] = {}

    def note(saved: Tensor) -> Tensor:
        store = saved.untyped_storage()
        if store.data_ptr() not in ours:
            seen[store.data_ptr()] = store.nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
        gradient(subject, subject.images[:1].clone())
    return sum(seen.values())


def available_memory() -> float:
    """Bytes that a batch may take, of the accelerator that is in use, else of the machine."""
    if torch.cuda.is_initialized():
        return _SHARE * torch.cuda.mem_get_info()[0]
    meminfo = Path("/proc/meminfo")
    lines = meminfo.read_text().splitlines() if meminfo.is_file() else []
    kibibytes = [line.split()[1] for line in lines if line.startswith("MemAvailable")]
    return _SHARE * 1024 * float(kibibytes[0]) if kibibytes else float("inf")


_LONG = 3600.0


def time_and_memory(subject: ModelUnderTest) -> Outcome:
    """Time an image, forward and with its gradient, as batches grow as far as memory goes."""
    held = held_bytes(subject)
    taken, left_out = passes(subject, held)
    parts = [f"batch {each.batch}: {_ms(each.forward)} forward, {_ms(each.gradient)} with gradient" for each in taken]
    parts.append(f"{held / 2**20:.1f} MiB an image held for the gradient")
    parts.append(f"the process has taken {peak_memory() / 2**20:.0f} MiB at most")
    figures = {"held": float(held), "peak": float(peak_memory())}
    for each in taken:
        figures[f"forward_{each.batch}"] = each.forward
        if each.gradient == each.gradient:
            figures[f"gradient_{each.batch}"] = each.gradient
    return passed("; ".join([*parts, *left_out]), **figures)


def default_audit(subject: ModelUnderTest) -> Outcome:
    """What the default study would take: the passes of the model in it, at the measured speed."""
    if subject.kind == "purifier":
        return skipped("the default audit attacks a model and brings its own purifiers")
    study, held = read("default"), held_bytes(subject)
    samples, defended = study.task["samples"], sum(table["name"] != "undefended" for table in study.defenses)
    steps, adaptive = (_gradients(subject, study, known) for known in ("oblivious", "adaptive"))
    quick = subject.affordable(_AUDIT_BATCH, passes=3) == _AUDIT_BATCH
    batch = _AUDIT_BATCH if quick and held * _AUDIT_BATCH < available_memory() else 1
    each = timed(subject, subject.images[:batch]).gradient
    if each != each:
        return skipped("the model has no gradient to backward")
    bare, whole = samples * steps * each, samples * (steps + adaptive * defended) * each
    return graded(
        "warn" if whole > _LONG else "pass",
        f"at most {span(bare)} for the attacks on the model alone ({samples} images x {steps:.0f} gradients), "
        f"{span(whole)} with its share of the adaptive rows; purifiers come on top",
        "begin with fewer: --samples 30 --steps 30 --set adaptive.steps=15",
        bare=bare,
        whole=whole,
    )


def _ms(seconds: float) -> str:
    return "none" if seconds != seconds else f"{1000 * seconds:.3g} ms"


def _gradients(subject: ModelUnderTest, study: Study, knowledge: Knowledge) -> float:
    """Gradients that the attacks of a study need for a sample at most, all draws counted, at a defense."""
    model = subject.model
    if isinstance(model, Embedder):
        model = NearestImage(model, ("one", "other"), torch.zeros(2, 1))
    assert isinstance(model, Classifier), "a purifier is skipped"
    objective = UntargetedObjective(
        goal=Untargeted(truth=torch.zeros(1, dtype=torch.long)), victim=Guarded(model, Jpeg())
    )
    found = 0.0
    for table in (one for many in study.attack_tables(knowledge, bare=False) for one in sweep(many)):
        config = {key: value for key, value in table.items() if key not in AttackerTable.model_fields}
        passes = registry.build("attack", config.pop("name"), config).passes(objective, Threat())
        found += passes.gradients * table.get("draws", 1)
    return found
