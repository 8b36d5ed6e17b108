"""How long work tells how far it is: a plain callback, which a bar or a test may be."""

from __future__ import annotations

from collections.abc import Callable

Tick = Callable[[int, int, str], None]
"""Takes what is done, of how much, and on what."""
