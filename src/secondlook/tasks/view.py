"""How a task is shown: its columns, headline, curves and examples, as data that a report reads."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from importlib.resources.abc import Traversable
from typing import Final, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from secondlook import registry
from secondlook.errors import UnknownName

Unit = Literal["share", "points", "number"]
THUMBNAIL: Final = 96
"""Height and width of an example's picture at most, in pixels."""
SHOWN: Final = 4
"""Views of one input in an example."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A metric as readers meet it.

    Attributes:
        metric: its name in ``metrics`` of a row.
        title: what it is called; empty takes the name.
        unit: a ``share`` of the samples, 0 to 1, is written in percent; a difference of shares in
            ``points``; anything else is a ``number``.
    """

    metric: str
    title: str = ""
    unit: Unit = "number"


@dataclass(frozen=True, kw_only=True)
class GoalView:
    """What an attacker wants, and how rows under such attacks are shown.

    Attributes:
        name: ``goal`` of a row.
        deed: what the attacker does to the share that follows: ``reaches the target on``.
        gauge: what has become of that share: ``taken over``.
        columns: metrics of the main table; empty takes the first three of the row.
        brief: those of them that are shown where there is little room.
        restated: metrics that are in the tables under another name already.
        drawn: metrics that are drawn against a budget.
        note: markup that explains ``columns``.
        drawn_note: markup that explains ``drawn``.
        record: what of a record says whether the goal was reached; the headline takes the worst of
            it over all attacks.
        also: goals whose attacks may reach this one as well, and count in its headline.
    """

    name: str
    deed: str = "reaches the goal on"
    gauge: str = "that fail"
    columns: tuple[str, ...] = ()
    brief: tuple[str, ...] = ()
    restated: frozenset[str] = frozenset({"success", "original_top1"})
    drawn: tuple[str, ...] = ("success", "original_top1")
    note: str = ""
    drawn_note: str = ""
    record: str = "success"
    also: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of further metrics, each with what it is a share of.

    Attributes:
        title: its heading.
        metrics: its columns, in order; those that no row has are left out.
        note: markup that explains them.
    """

    title: str
    metrics: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A chart of several metrics of one attack against its eps, for attacks at several of them.

    Attributes:
        title: what it shows.
        lines: metrics, from the top down, by their labels.
    """

    title: str
    lines: Mapping[str, str]


class Part(BaseModel):
    """What an example is made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Example(Part):
    """One sample of the gallery, before and after an attack; a task adds what it has to show."""

    task: str
    """The registered name of the task, whose view shows the example."""
    sample: str
    model: str
    defense: str
    attack: str
    knowledge: str


class ImageExample(Example):
    """An example whose input is an image; pictures are base64 of PNG files."""

    clean: str
    perturbation: str
    """The change, centered at gray and magnified to full contrast."""
    adversarial: str


class Word(Part):
    """A word of a text."""

    text: str
    changed: bool = False
    """Whether the text that it is compared with has not got it."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What a report shows of a task.

    Attributes:
        goals: what attackers may want.
        columns: the task's own metrics, where name or unit are not the usual ones.
        things: what there are ``n`` of.
        kept: what an answer is that an attack leaves as it should be.
        outcome: what an outcome is of, as a sentence; empty where it is of an answer.
        tables: further tables.
        curves: further charts, and ``curves_note``, which explains them.
        example: the type of the examples.
        gallery: markup above them.
        template: jinja of one ``example`` and its ``view``, as text or as a file beside the task. It may import
            ``picture``, ``change``, ``phrase`` and ``knows`` from ``macros.html.jinja``; what it
            is given is escaped.
    """

    goals: tuple[GoalView, ...] = ()
    columns: tuple[Column, ...] = ()
    things: str = "images"
    kept: str = "right"
    outcome: str = ""
    tables: tuple[Table, ...] = ()
    curves: tuple[Curve, ...] = ()
    curves_note: str = ""
    example: type[Example] = Example
    gallery: str = ""
    template: str | Traversable = ""

    def goal(self, name: str) -> GoalView:
        """How rows of a goal are shown; a plain way where the view knows of none."""
        return next((goal for goal in self.goals if goal.name == name), GoalView(name=name))

    def column(self, metric: str) -> Column:
        """How a metric is shown; a metric that the view does not know is shown as it is called."""
        own = (column for column in self.columns if column.metric == metric)
        return next(own, None) or _usual(metric)


PLAIN: Final = View()
"""What is shown of a task that says nothing of itself, or is not installed."""
_SHARES: Final = (
    "target_top",
    "original_top",
    "success",
    "asr_",
    "correct",
    "wrong",
    "rejected",
    "coverage",
    "selective_accuracy",
)
"""How the names of metrics begin that are shares of the samples whatever the task."""


def _usual(metric: str) -> Column:
    title = metric.replace("_top", " top-").replace("_", " ")
    unit: Unit = "share" if metric.startswith(_SHARES) else "number"
    return Column(metric=metric, title=title, unit="points" if metric == "accuracy_drop" else unit)


def name_of(task: str) -> str:
    """The registered name in what a result calls its task, ``zeroshot scenes:test``."""
    return task.partition(" ")[0]


def installed(task: str) -> bool:
    """Whether the task of a result is registered here."""
    try:
        registry.find("task", name_of(task))
    except UnknownName:
        return False
    return True


def view_of(task: str) -> View:
    """The view of the task of a result, by its name there."""
    if not installed(task):
        return PLAIN
    found = getattr(registry.find("task", name_of(task)), "view", PLAIN)
    return found if isinstance(found, View) else PLAIN


def picture(x: Tensor) -> str:
    """``[C, H, W]`` in [0, 1] as base64 of a PNG, no larger than a thumbnail.

    Of three channels or more the first three are red, green and blue; fewer are gray.
    """
    rgb = x[:3] if len(x) >= 3 else x[:1].expand(3, -1, -1)
    pixels = (rgb.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def pictures(clean: Tensor, adversarial: Tensor) -> dict[str, str]:
    """The pictures of an :class:`ImageExample`, of two images ``[3, H, W]`` in [0, 1]."""
    return {
        "clean": picture(clean),
        "perturbation": picture(magnified(adversarial - clean)),
        "adversarial": picture(adversarial),
    }


def magnified(delta: Tensor) -> Tensor:
    """A change of pixels around gray, at full contrast."""
    return 0.5 + 0.5 * delta / delta.abs().amax().clamp_min(1e-6)


def compared(before: str, after: str) -> list[Word]:
    """The words of a text, those marked that were not in it before.

    Example:
        >>> [word.text for word in compared("a red star", "a blue star") if word.changed]
        ['blue']
    """
    old, new = before.split(), after.split()
    kept = _kept(old, new)
    return [Word(text=text, changed=at not in kept) for at, text in enumerate(new)]


def _kept(old: Sequence[str], new: Sequence[str]) -> set[int]:
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    return {block.b + step for block in blocks for step in range(block.size)}
