"""``secondlook serve``: a guard as an HTTP service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from secondlook.cli.audit import Device

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    policy: Annotated[Path, typer.Argument(help="The guard, as `guard --calibrate` has written it.")] = Path(
        "guard.toml"
    ),
    host: Annotated[str, typer.Option(help="Where to listen; another than this machine needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    log: Annotated[Path | None, typer.Option(help="A file for the verdicts, hash-chained JSON lines.")] = None,
    canaries: Annotated[Path | None, typer.Option(help="Clean images that are looked at every hour.")] = None,
    seconds: Annotated[float, typer.Option(help="Until an answer.")] = 2.0,
    batch: Annotated[int, typer.Option(min=1, help="Images that are looked at together.")] = 16,
    room: Annotated[int, typer.Option(min=1, help="Requests that may wait.")] = 64,
    fail: Annotated[str, typer.Option(help="closed; or open: what gets no verdict passes.")] = "closed",
    verify: Annotated[Path | None, typer.Option(help="Check the chain of a log, and serve nothing.")] = None,
    device: Device = "auto",
) -> None:
    """Serve a guard over HTTP: POST an image to /v1/check; a page at /, counts at /metrics.

    A bearer token is taken from the environment, SECONDLOOK_TOKEN. For example:
    ``secondlook serve guard.toml --log verdicts.jsonl``.
    """
    from secondlook.data.decoding import extra

    extra("fastapi", "serve", "serving a guard")
    extra("prometheus_client", "serve", "serving a guard")
    uvicorn = extra("uvicorn", "serve", "serving a guard")
    if verify is not None:
        from secondlook.serve.log import verify as verified

        typer.echo(f"{verify}: {verified(verify)[0]} lines, each as it was written")
        return
    token = os.environ.get("SECONDLOOK_TOKEN", "")
    _refuse(host, port, token, fail)

    from secondlook.guard.guard import Guard
    from secondlook.models.runtime import engine
    from secondlook.serve.app import make_app
    from secondlook.serve.log import ChainedLog
    from secondlook.serve.service import Limits, Service

    made = Guard.load(policy)
    made.guarded.to(engine.device(device))
    limits = Limits(seconds=seconds, batch=batch, room=room, fail="open" if fail == "open" else "closed")
    service = Service(
        made,
        limits,
        policy,
        None if log is None else ChainedLog(log),
        None if canaries is None else made.pixels(sorted_images(canaries)),
    )
    typer.echo(f"{made.policy.model} behind {', '.join(stage.name for stage in made.stages)}: http://{host}:{port}")
    uvicorn.run(make_app(service, token), host=host, port=port, log_level="warning", server_header=False)


def sorted_images(folder: Path) -> list[Path]:
    """The images of a folder."""
    from secondlook.data import images

    return images.find(folder, deep=True)


def _refuse(host: str, port: int, token: str, fail: str) -> None:
    """Refuses what would listen to strangers, at a port that is taken, or fail in a way that is none."""
    import socket

    from secondlook.errors import InvalidInput, refusal

    if fail not in ("closed", "open"):
        raise InvalidInput(f"--fail {fail} is none of closed, open")
    if host not in _LOOPBACK and not token:
        raise InvalidInput(f"--host {host} is open to others; set SECONDLOOK_TOKEN in the environment, or leave it out")
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        raise InvalidInput(f"{host}:{port} cannot be listened at: {refusal(error)}; take another --port") from None
