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


class Attacked(Plain):
    """Whose image it is, and who attacked whom."""

    sample: str
    model: str
    defence: str
    attack: str
    knowledge: str


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


class SearchExhibit(Attacked):
    """One image with one of its captions, and what they find before and after the attack."""

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


class Suspected(Plain):
    """What a detector makes of an image with what is said of it."""

    paintings: list[str]
    """What was painted of what is said; empty where the detector paints nothing."""
    suspicion: float
    threshold: float
    """The largest suspicion with which the caption is given out."""

    @property
    def accepted(self) -> bool:
        """Whether the caption is given out."""
        return self.suspicion <= self.threshold


class CaptionExhibit(Attacked):
    """One image, and what is said of it before and after the attack."""

    aim: str
    """``untargeted``, ``targeted``, or empty for an attack that is made for pairs."""
    clean: str
    perturbation: str
    adversarial: str
    shown: list[str]
    """What the defence shows the model in place of the adversarial image."""
    truth: str
    """A true caption."""
    target: str
    """What the attacker wants to be said; empty where anything else will do."""
    before: list[Word]
    """What is said of the clean image; words that are lost are marked."""
    after: list[Word]
    right_before: bool
    right: bool
    """Whether what is said is about the image, see :class:`~secondlook.tasks.captioning_told.Told`.
    """
    said: bool
    """Whether it is about what the attacker wants."""
    watched: Suspected | None = None
    """What a detector makes of the adversarial image, where there is one."""


class Finger(Plain):
    """Where a text is looked for on an image; places are shares of its width and height."""

    picture: str
    """The image with the map over it."""
    x: float
    y: float
    """The hottest place."""
    hit: bool


class MapExhibit(Attacked):
    """One image with a text, and where it is found before and after the attack."""

    aim: str
    """``map``, ``cosine``, or empty for an attack on images with texts."""
    clean: str
    perturbation: str
    adversarial: str
    box: tuple[float, float, float, float]
    """What the text speaks of: left, top, width and height as shares of the image."""
    text: list[Word]
    altered: list[Word]
    before: Finger
    after: Finger


Shown = Exhibit | SearchExhibit | CaptionExhibit | MapExhibit
"""All that a gallery may hold."""
