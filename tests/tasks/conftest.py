"""The studies of audits, and the small worlds that they are of."""

from tests.audit.conftest import (
    _no_waiting_for_the_disk,
    audited,
    captioning,
    classification,
    grounding,
    own_registry,
    pictures,
    ran,
    retrieval,
    whole,
    worlds,
)

__all__ = [
    "_no_waiting_for_the_disk",
    "audited",
    "captioning",
    "classification",
    "grounding",
    "own_registry",
    "pictures",
    "ran",
    "retrieval",
    "whole",
    "worlds",
]
