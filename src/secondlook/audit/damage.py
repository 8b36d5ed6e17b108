"""How much worse than clean: attack success by each of its names, sample by sample."""

from __future__ import annotations

from collections.abc import Sequence

from secondlook import statistics
from secondlook.audit.figures import share
from secondlook.audit.rejection import missed
from secondlook.audit.schema import Member, Metric
from secondlook.audit.store import Record


def damage(rows: Sequence[Record], clean: Sequence[Record]) -> dict[str, Metric]:
    """Three rates of success that are often taken for one another.

    ``asr_targeted``: the target comes out. ``asr_conditional``: a wrong answer is accepted, among
    the samples that are correct without an attack. ``accuracy_drop``: what of the clean accuracy
    is lost. The last two need the clean records of the same defence.
    """
    found = {}
    if "target_top1" in rows[0]:
        found["asr_targeted"] = share([row["target_top1"] for row in rows])
    before = {row["sample"]: row["original_top1"] for row in clean}
    pairs = [(before[row["sample"]], row) for row in rows if row["sample"] in before]
    held = sum(was for was, _ in pairs)
    if held > 0:
        lost = [was * missed(row["original_top1"], row["rejected"]) for was, row in pairs]
        found["asr_conditional"] = share(lost, held)
    if pairs:
        after = [row["original_top1"] for _, row in pairs]
        drop = statistics.paired_difference([was for was, _ in pairs], after)
        found["accuracy_drop"] = Metric(**drop._asdict())
    return found


def members(rows: Sequence[Record], names: Sequence[str]) -> dict[str, Member]:
    """Of each member attack, the share it fooled of those that none before it had fooled."""
    by = [row["by"] for row in rows if row.get("by") is not None]
    found = {}
    for index, name in enumerate(names):
        given = [each for each in by if each < 0 or each >= index]
        if given:
            fooled = share([float(each == index) for each in given])
            found[name] = Member(fooled=fooled, n=len(given))
    return found
