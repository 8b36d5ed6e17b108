"""An attack on as many samples at once as memory holds."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from secondlook.attacks.base import Attack, Attacked, Objective, Trace
from secondlook.models.memory import halving
from secondlook.randomness import Keys
from secondlook.threat import Threat


def attacked(
    attack: Attack, objective: Objective, clean: Tensor, threat: Threat, keys: Keys
) -> Attacked:
    """What ``attack`` makes of a batch; one that does not fit into memory is halved until it does.

    A sample's adversarial does not depend on who is beside it but for the float noise of the
    kernels, so that the parts make the whole. That it was halved is among the notices.

    Raises:
        InvalidInput: not even one sample fits; or as the attack raises it.
    """
    everyone = torch.arange(len(clean), device=clean.device)

    def some(rows: slice) -> Attacked:
        whole = rows == slice(0, len(clean))
        wish = objective if whole else objective.take(everyone[rows])
        return attack(wish, clean[rows], threat, keys[rows])

    made, size = halving(some, len(clean))
    return made[0] if len(made) == 1 else _joined(made, size)


def _joined(parts: list[Attacked], size: int) -> Attacked:
    count = sum(len(part.x) for part in parts)
    told = [notice for part in parts for notice in part.notices]
    told.append(
        f"{count} images did not fit into memory and were attacked {size} at a time; "
        f"write batch = {size}"
    )
    by = [part.by for part in parts if part.by is not None]
    traces = {f.name: [getattr(part.trace, f.name) for part in parts] for f in fields(Trace)}
    return Attacked(
        x=torch.cat([part.x for part in parts]),
        trace=Trace(**{name: torch.cat(values) for name, values in traces.items()}),
        notices=tuple(dict.fromkeys(told)), by=torch.cat(by) if by else None,
        members=parts[0].members,
    )  # fmt: skip
