"""The gallery of searches: a query, what it finds first, and what it finds when attacked."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import cached_property

from torch import Tensor

from secondlook.attacks.pairs import Captions
from secondlook.audit.exhibit import Hit, SearchExhibit, Word
from secondlook.audit.gallery import magnified, picture
from secondlook.audit.retrieval.matrix import SearchCell, SearchPlan
from secondlook.audit.retrieval.sets import AlteredSet
from secondlook.audit.store import Record, Run
from secondlook.audit.summary import by_cell


def exhibits(plan: SearchPlan, run: Run) -> list[SearchExhibit]:
    """The first images of the task, each under another of the attacks at the largest budget."""
    cells = _worth_showing(plan)
    records = by_cell(run)
    shown = []
    for at in range(min(plan.study.exhibits, len(plan.task.rows)) if cells else 0):
        cell = cells[at % len(cells)]
        name = plan.task.ids[at]
        rows = [
            next((row for row in records.get(each.id, []) if row["sample"] == name), {})
            for each in (plan.clean(cell), cell)
        ]
        if all("first_texts" in row for row in rows):
            shown.append(_Wall(plan, run, cell, at).exhibit(*rows))
    return shown


def _worth_showing(plan: SearchPlan) -> list[SearchCell]:
    """Rows at the largest eps and most of which is attacked, one for each defence and attack."""
    eps = max((cell.threat.eps for cell in plan.cells if cell.threat), default=0.0)
    found: dict[tuple[int, str], SearchCell] = {}
    for cell in plan.cells:
        if cell.forge and cell.threat and cell.threat.eps == eps:
            found[id(cell.seen), cell.forge.id] = cell
    return list(found.values())


class _Wall:
    """One row of one image, with all that is needed to show it."""

    def __init__(self, plan: SearchPlan, run: Run, cell: SearchCell, at: int) -> None:
        assert cell.forge is not None
        self.plan, self.cell, self.at = plan, cell, at
        self.stored = AlteredSet(run.adversarial(cell.forge.id, 0).parent)

    @cached_property
    def altered(self) -> Captions:
        return self.stored.captions

    @cached_property
    def caption(self) -> int:
        """The first caption of the image that was changed, or its first."""
        pairs = zip(self.plan.task.captions[self.at], self.altered[self.at], strict=True)
        return next((n for n, (old, new) in enumerate(pairs) if old != new), 0)

    def exhibit(self, before: Record, after: Record) -> SearchExhibit:
        """What the image and one of its captions find, before and after."""
        cell, old = self.cell, self.plan.task.captions[self.at][self.caption]
        clean, changed = self._image(self.at, False), self._image(self.at, True)
        assert cell.forge is not None
        return SearchExhibit(
            sample=self.plan.task.ids[self.at], model=cell.seen.embedder.name, defence=cell.label,
            attack=cell.forge.settings["name"], knowledge=cell.knowledge, attacked=cell.setting,
            clean=picture(clean), adversarial=picture(changed),
            perturbation=picture(magnified(changed - clean)),
            caption=words(old, old), altered=words(old, self.altered[self.at][self.caption]),
            texts_before=self._texts(before["first_texts"], False),
            texts_after=self._texts(after["first_texts"], self.cell.setting != "query"),
            images_before=self._images(before["first_images"][self.caption], False),
            images_after=self._images(
                after["first_images"][self.caption], self.cell.setting != "query"
            ),
        )  # fmt: skip

    def _image(self, at: int, altered: bool) -> Tensor:
        if altered:
            return self.stored.images([self.plan.task.ids[at]])[0]
        return self.plan.task.batch([at], self.cell.seen.size).pairs.images[0].cpu()

    def _texts(self, rows: Sequence[int], altered: bool) -> list[Hit]:
        task, found = self.plan.task, []
        for row in rows:
            image = task.owner[row]
            number = row - task.own.texts[image][0]
            old = task.captions[image][number]
            new = self.altered[image][number] if altered else old
            right = row in task.alike.texts[self.at]
            found.append(Hit(words=words(old, new), right=right))
        return found

    def _images(self, rows: Sequence[int], altered: bool) -> list[Hit]:
        task = self.plan.task
        answers = task.alike.images[task.own.texts[self.at][self.caption]]
        return [Hit(picture=picture(self._image(r, altered)), right=r in answers) for r in rows]


def words(before: str, after: str) -> list[Word]:
    """The words of a caption, those marked that were not in it before.

    Example:
        >>> [word.text for word in words("a red star", "a blue star") if word.changed]
        ['blue']
    """
    old, new = before.split(), after.split()
    kept = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    same = {block.b + step for block in kept for step in range(block.size)}
    return [Word(text=text, changed=at not in same) for at, text in enumerate(new)]
