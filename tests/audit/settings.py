"""Defenses and attacks of the small worlds, as a study's tables."""

from typing import Any

from tests.audit.conftest import SHADES

JPEG: dict[str, Any] = {"name": "jpeg", "label": "jpeg"}
SHIELD: dict[str, Any] = {"name": "multishield", "auxiliary": "python:tests.tiny:third"}
MIRROR: dict[str, Any] = {
    "name": "mirrorcheck",
    "encoders": f"{SHADES}:prism",
    "painters": f"{SHADES}:brush",
    "calibrate_on": "tints:60",
    "false_rejection": 0.1,
}
ATTACKS = {"classification": "mortal", "captioning": "mortal", "grounding": "mortal", "retrieval": "swap"}
