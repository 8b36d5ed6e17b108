"""A process that dies when it is asked to attack one batch more than it may."""

from __future__ import annotations

from typing import ClassVar


class Mortal:
    """Counts the batches that were attacked.

    Attributes:
        made: their sizes.
        deadline: the process dies when it is asked for one more than so many; never below 0.
    """

    made: ClassVar[list[int]] = []
    deadline: ClassVar[int] = -1

    @classmethod
    def count(cls, size: int) -> None:
        """Notes one more batch, or dies.

        Raises:
            KeyboardInterrupt: it was one too many.
        """
        if len(cls.made) == cls.deadline:
            raise KeyboardInterrupt
        cls.made.append(size)

    @classmethod
    def reset(cls) -> None:
        """Nothing was attacked yet, and nobody has to die."""
        cls.made.clear()
        cls.deadline = -1
