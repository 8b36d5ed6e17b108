"""secondlook attacks, hardens, defends and measures multimodal models.

The names below are loaded when they are first used, so that importing the package is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Aim": "secondlook.goals.base",
    "AlignTo": "secondlook.goals.illusion",
    "Attack": "secondlook.attacks.base",
    "Classifier": "secondlook.models.base",
    "Consensus": "secondlook.defenses.consensus",
    "Decision": "secondlook.decision",
    "Defence": "secondlook.defenses.base",
    "Embedder": "secondlook.models.base",
    "Goal": "secondlook.goals.base",
    "Illusion": "secondlook.attacks.illusion",
    "Keys": "secondlook.randomness",
    "PGD": "secondlook.attacks.pgd",
    "Purifier": "secondlook.models.base",
    "Threat": "secondlook.threat",
    "Undefended": "secondlook.defenses.undefended",
    "WinVotes": "secondlook.goals.targeted",
    "ZeroShot": "secondlook.models.zeroshot",
    "counting": "secondlook.ledger",
    "load": "secondlook.models",
    "register": "secondlook.registry",
    "run_study": "secondlook.audit.api",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Loads a public name from its room."""
    if name not in _HOMES:
        raise AttributeError(f"secondlook has no {name!r}; it has {', '.join(sorted(_HOMES))}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
