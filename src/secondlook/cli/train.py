"""``secondlook train``: make a model of the embedded world again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secondlook.cli.progress import progress


def train(
    model: Annotated[str, typer.Argument(help="Which one: scenes:clip, scenes:vae …")],
    out: Annotated[Path, typer.Option(help="Where weights and card go.")] = Path("weights"),
    device: Annotated[str, typer.Option(help="cpu, cuda; empty chooses.")] = "",
    workers: Annotated[int, typer.Option(min=1, help="Processes that render scenes.")] = 2,
) -> None:
    """Train a model of the embedded world from nothing. Continues a killed training."""
    import torch
    from rich.console import Console

    from secondlook.scenes.training.train import train as trained

    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with progress(model) as tick:
        card = trained(model, out, device=chosen, workers=workers, tick=tick)
    Console().print_json(data=card)
