"""``secondlook export``: a finished run for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    folder: Annotated[Path, typer.Argument(help="A run directory.")],
    out: Annotated[
        Path, typer.Argument(help=".parquet or .csv: the records; .tex or .md: the tables; .bib: what was used.")
    ],
) -> None:
    """Write a finished run as Parquet, CSV, LaTeX, Markdown or BibTeX, by the ending of the file.

    For example: ``secondlook export runs/default table.tex``.
    """
    from secondlook.audit.export import export as exported

    exported(folder, out)
    typer.echo(str(out))
