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


class Word(Plain):
    """A word of a caption."""

    text: str
    changed: bool = False
    """Whether the attacker has put it there."""


class Hit(Plain):
    """One of the first answers to a search: a caption, or an image."""

    words: list[Word] = []
    picture: str = ""
    right: bool
    """Whether it is one that should be found."""


class SearchExhibit(Plain):
    """One image with one of its captions, and what they find before and after the attack."""

    sample: str
    model: str
    defence: str
    attack: str
    knowledge: str
    attacked: str
    """Which side of the search is attacked: ``query``, ``gallery`` or ``both``."""
    clean: str
    perturbation: str
    adversarial: str
    caption: list[Word]
    altered: list[Word]
    texts_before: list[Hit]
    """The first captions that the image finds."""
    texts_after: list[Hit]
    images_before: list[Hit]
    """The first images that the caption finds."""
    images_after: list[Hit]
