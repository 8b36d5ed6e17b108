"""``secondlook rescore``: a stored adversarial set, our own or imported, against any model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from secondlook.cli.audit import Device, Samples
from secondlook.progress import progress

Stored = Annotated[str, typer.Argument(help="RUN/adversarial/ID, sga:ADVERSARIAL.json@FOLDER, illusions:FOLDER#300.")]
Model = Annotated[str | None, typer.Option(help="By default the first of the set's run, or scenes:clip.")]
Data = Annotated[str | None, typer.Option(help="The clean data that an imported set was made of.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Of the samples and targets.")]
Form = Annotated[str | None, typer.Option(help="Captions as they are written, or in the form of sga.")]
AttackResult = Annotated[str, typer.Option(help="query, gallery or both.")]
Eps = Annotated[str, typer.Option(help="Hold an imported set to this radius: 2/255.")]
Words = Annotated[int, typer.Option(help="Hold it to so many words a caption; -1 measures.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the result here, too.")]


def rescore(
    stored: Stored,
    model: Model = None,
    data: Data = None,
    samples: Samples = None,
    seed: Seed = None,
    form: Form = None,
    attacked: AttackResult = "both",
    eps: Eps = "",
    norm: Annotated[str, typer.Option(help="linf, l2 or l1.")] = "linf",
    words: Words = -1,
    device: Device = "auto",
    json: Json = None,
) -> None:
    """Score adversarial images that are there against any model; imported ones are measured."""
    from secondlook import registry
    from secondlook.audit.report.text import render_rescored
    from secondlook.audit.rescore import replayed, rescored, scored_again
    from secondlook.drafts import write_atomic
    from secondlook.errors import InvalidInput
    from secondlook.models import load
    from secondlook.models.base import Embedder
    from secondlook.models.runtime import engine
    from secondlook.terminal import Terminal
    from secondlook.threat import Threat

    bound, place = Threat.parse(norm, eps or "8/255"), engine.device(device)
    threat, study = bound if eps else None, _study(stored)
    name = model or _victim(study)
    typed = {"data": data, "samples": samples, "seed": seed, "form": form}
    settings = _search(study) | {key: value for key, value in typed.items() if value is not None}
    task = registry.build("task", "retrieval", settings | {"attacked": [attacked]})
    with progress("rescore", lines=True) as tick:
        tick(0, 1, f"loading {name}")
        made = load(name)
        made.to(place)
        tick(0, 1, stored)
        if stored.startswith("illusions:"):
            kind, found = "zeroshot", replayed(stored, made, threat=threat)
        elif study and not _searches(study):
            kind, found = scored_again(Path(stored), made, place)
        elif isinstance(made, Embedder):
            kind, found = "retrieval", rescored(stored, made, task, task.attacked[0], threat=threat, words=words)
        else:
            raise InvalidInput(f"{name} embeds no texts, and a search needs both; try scenes:clip")
    render_rescored(found, made.name, kind, Terminal(highlight=False))
    if json is not None:
        write_atomic(json, found.written().encode())


def _study(stored: str) -> dict[str, Any]:
    """The study of the run that a set lies in; empty where it lies in none.

    Raises:
        InvalidInput: it runs code of its writer's choice.
    """
    from secondlook.audit.store import read_head
    from secondlook.cli.audit import running
    from secondlook.errors import InvalidInput

    run = Path(stored).parent.parent
    if not (run / "run.json").exists():
        return {}
    study = read_head(run).get("study")
    if not isinstance(study, dict):
        return {}
    if code := running({"plugins": study.get("plugins"), "task": study.get("task")}):
        raise InvalidInput(f"the study of {stored} runs code, {code}; its set is not scored again")
    return study


def _searches(study: dict[str, Any]) -> bool:
    """Whether it is scored as a whole."""
    task = study.get("task")
    return isinstance(task, dict) and task.get("name") == "retrieval"


def _search(study: dict[str, Any]) -> dict[str, Any]:
    """The search that a set is taken for where nobody says another: that of its run, if it has one."""
    own = study["task"] if _searches(study) else {}
    plain = {"data": "scenes:test", "samples": 0, "seed": study.get("seed", 0)}
    return plain | {key: value for key, value in own.items() if key != "name"}


def _victim(study: dict[str, Any]) -> str:
    """The model that is asked where nobody names one: the first of the study.

    Raises:
        InvalidInput: it runs code, which a folder of somebody else's may name.
    """
    from secondlook.cli.audit import running
    from secondlook.errors import InvalidInput

    models = study.get("models")
    first = models[0] if isinstance(models, list) and models and isinstance(models[0], str) else "scenes:clip"
    if running(first):
        raise InvalidInput(f"the run's model {first} runs code to be loaded; if you trust it, write --model {first!r}")
    return first
