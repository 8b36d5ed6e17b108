"""``secondlook train``: make a model again, or one from photographs or captions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secondlook.cli.audit import Device
from secondlook.progress import progress

_MODEL = (
    "scenes:clip, scenes:vae, scenes:bind …, overhead-clip …, cifar10-clip, captions-mlm, prompts:EMBEDDER or "
    "prior:EMBEDDER"
)
_DATA = (
    "cifar10-clip: photographs, cifar10:PATH.npz. captions-mlm: a file with a caption a line, a "
    "table with image,caption, or flickr8k:FOLDER. prompts: images of classes, prior: any images; scenes:train if none."
)
_TEST = "The same: others, to measure on."


def train(
    model: Annotated[str, typer.Argument(help=_MODEL)],
    out: Annotated[Path, typer.Option(help="Where weights and card go.")] = Path("weights"),
    device: Device = "auto",
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that render scenes.")] = 2,
    data: Annotated[str, typer.Option(help=_DATA)] = "",
    test: Annotated[str, typer.Option(help=_TEST)] = "",
) -> None:
    """Train a model, or what a defense learns of one. Continues a killed training."""
    from secondlook.errors import InvalidInput
    from secondlook.hardening.prompts import train_prompts
    from secondlook.models.runtime import engine
    from secondlook.scenes.overhead.training import train_overhead
    from secondlook.scenes.training import own_captions, photographs, sounds
    from secondlook.scenes.training.train import train as trained
    from secondlook.scenes.training.vector_prior import train_prior
    from secondlook.terminal import Terminal

    own = {photographs.NAME: photographs.train_photos, own_captions.NAME: own_captions.train_captions}
    parts = {"prompts": train_prompts, "prior": train_prior}
    kind, _, embedder = model.partition(":")
    if model not in own and kind not in parts and (data or test):
        raise InvalidInput(f"{model} is trained on scenes; leave --data and --test out")
    chosen = str(engine.device(device))
    with progress(model, lines=True) as tick:
        if model in own:
            card = own[model](data, out, test=test, device=chosen, tick=tick)
        elif kind in parts:
            card = parts[kind](embedder, out, data=data, test=test, device=chosen, tick=tick)
        elif model.startswith("overhead-"):
            card = train_overhead(model, out, device=chosen, tick=tick)
        elif model.removeprefix("scenes:") in sounds.recipes():
            card = sounds.train_sounds(model, out, device=chosen, tick=tick)
        else:
            card = trained(model, out, device=chosen, workers=workers, tick=tick)
    Terminal().print_json(data=card)
