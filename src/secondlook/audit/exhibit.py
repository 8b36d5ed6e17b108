"""The typed exhibits of the gallery: what ``gallery.json`` holds, field by field."""

from __future__ import annotations

from secondlook.audit.schema import Plain


class Ballot(Plain):
    """Votes that one class got."""

    label: str
    votes: int


class Exhibit(Plain):
    """One sample of the gallery; pictures are base64 of PNG files."""

    sample: str
    defence: str
    knowledge: str
    truth: str
    target: str
    """What the attacker wants to be answered; empty where any wrong answer will do."""
    clean: str
    perturbation: str
    """The change, centred at grey and magnified to full contrast."""
    adversarial: str
    reconstructions: list[str]
    undefended_answer: str
    answer: str
    outcome: str
    votes: list[Ballot]
