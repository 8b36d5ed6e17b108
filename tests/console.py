"""What a command writes to standard error, but for its progress, which depends on how fast a machine is."""

import re

_PROGRESS = re.compile(r"\((?:[^()]* done, )?[\d.]+ (?:s|min|h)(?:, about [^()]* left)?\)$")


def said(err: str) -> list[str]:
    """The lines that are neither blank nor progress."""
    return [line for line in err.splitlines() if line.strip() and not _PROGRESS.search(line)]
