"""How many changes lead from one row of words, or letters, to another."""

from __future__ import annotations

from collections.abc import Sequence


def edits(old: Sequence[str], new: Sequence[str], phrase: int = 1) -> int:
    """The fewest replacements, additions and removals between two rows (Levenshtein 1966).

    Args:
        old: the one row.
        new: the other.
        phrase: up to so many in place of one count as one replacement.

    Example:
        >>> edits("kitten", "sitting")
        3
    """
    old, new = _apart(old, new)
    row = list(range(len(new) + 1))
    for word in old:
        above, row = row, [row[0] + 1]
        for at, other in enumerate(new, start=1):
            replaced = min(above[at - size] for size in range(1, min(phrase, at) + 1)) + 1
            kept = above[at - 1] if word == other else replaced
            row.append(min(kept, replaced, above[at] + 1, row[-1] + 1))
    return row[-1]


def words_changed(before: str, after: str, phrase: int = 1) -> int:
    """Words replaced, added or taken away between two texts; words are what white space parts.

    Example:
        >>> words_changed("a red circle", "a blue  circle"), words_changed("a b", "b a")
        (1, 2)
    """
    return edits(before.split(), after.split(), phrase)


def _apart(old: Sequence[str], new: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Both without what they begin and end with in common, which no shortest way touches."""
    short = min(len(old), len(new))
    first = next((i for i in range(short) if old[i] != new[i]), short)
    old, new = old[first:], new[first:]
    short = min(len(old), len(new))
    last = next((i for i in range(short) if old[-1 - i] != new[-1 - i]), short)
    return old[: len(old) - last], new[: len(new) - last]
