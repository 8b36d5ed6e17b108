"""``secondlook train``: make a model again, or one from photographs of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secondlook.cli.progress import progress


def train(
    model: Annotated[str, typer.Argument(help="scenes:clip, scenes:vae … or cifar10-clip")],
    out: Annotated[Path, typer.Option(help="Where weights and card go.")] = Path("weights"),
    device: Annotated[str, typer.Option(help="cpu, cuda; empty chooses.")] = "",
    workers: Annotated[int, typer.Option(min=1, help="Processes that render scenes.")] = 2,
    data: Annotated[str, typer.Option(help="cifar10-clip: photographs, cifar10:PATH.npz.")] = "",
    test: Annotated[str, typer.Option(help="cifar10-clip: others, to measure on.")] = "",
) -> None:
    """Train a model from nothing. Continues a killed training."""
    import torch
    from rich.console import Console

    from secondlook.errors import InvalidInput
    from secondlook.scenes.training.train import train as trained
    from secondlook.scenes.training.train_photos import NAME, train_photos

    if model != NAME and (data or test):
        raise InvalidInput(f"{model} is trained on scenes; leave --data and --test away")
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with progress(model) as tick:
        if model == NAME:
            card = train_photos(data, out, test=test, device=chosen, tick=tick)
        else:
            card = trained(model, out, device=chosen, workers=workers, tick=tick)
    Console().print_json(data=card)
