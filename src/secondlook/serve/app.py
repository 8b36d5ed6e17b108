"""The endpoints of the service: a verdict, the policy, health, counts, and a page."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from time import monotonic
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from secondlook.errors import InvalidInput
from secondlook.guard.hooks.litellm import guardrail
from secondlook.guard.hooks.openai import moderation
from secondlook.serve.service import Checked, Service, Trouble

_DECISIONS: Final = {"accepted": "allow", "rejected": "block"}
_OPEN: Final = ("/", "/healthz", "/readyz")
"""What is answered without a token: nothing of it says what is guarded."""
_UPLOAD: Final = 10.0
"""Seconds that a body may take to come."""
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'",
}
_BODY: Final = {
    "content": {
        "image/*": {"schema": {"type": "string", "format": "binary"}},
        "application/json": {
            "schema": {"type": "object", "required": ["image"], "properties": {"image": {"type": "string"}}}
        },
    },
    "required": True,
}
_JSON: Final = {"content": {"application/json": {"schema": {"type": "object"}}}, "required": True}
Hook = Callable[[Service, dict[str, Any]], Awaitable[dict[str, Any]]]
_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    code: {"description": said}
    for code, said in {
        400: "no image in the request",
        401: "no token, or a wrong one",
        408: "the body came too slowly",
        413: "the body is too large",
        422: "no image that is taken",
        503: "not ready, or too many requests",
        504: "no verdict in time",
    }.items()
}


def make_app(service: Service, token: str = "") -> FastAPI:
    """The service as an ASGI application.

    Args:
        service: what answers.
        token: a bearer token that every request has to have, but for health and the page; empty for none.
    """

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        await service.begin()
        yield
        await service.end()

    app = FastAPI(title="secondlook guard", docs_url=None, redoc_url=None, lifespan=living)

    @app.middleware("http")
    async def guarded(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        given = request.headers.get("authorization", "").encode()
        allowed = not token or request.url.path in _OPEN or hmac.compare_digest(given, f"Bearer {token}".encode())
        response = await go_on(request) if allowed else _said(401, "token", "send Authorization: Bearer TOKEN")
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.post("/v1/check", openapi_extra={"requestBody": _BODY}, responses=_ERRORS)
    async def check(request: Request) -> Response:
        """The verdict on one image: its bytes, or JSON with ``image`` in base64."""
        begun = monotonic()
        try:
            with service.admitted():
                content = await _image(request, service.limits.body)
                answer = _reply(service, await service.check(content))
            decision = answer["decision"]
            response: Response = JSONResponse(answer)
        except Trouble as trouble:
            response, decision = _failed(service, trouble)
        service.counts.requests.labels("check", decision, response.status_code).inc()
        service.counts.duration.labels("check").observe(monotonic() - begun)
        return response

    async def asked(request: Request, name: str, hook: Hook) -> Response:
        """A request in the shape of another's, which all have JSON."""
        begun = monotonic()
        try:
            with service.admitted():
                response: Response = JSONResponse(await hook(service, await _object(request, service.limits.body)))
        except Trouble as trouble:
            response = _said(trouble.code, trouble.kind, trouble.sentence, trouble.after)
        except InvalidInput as error:
            response = _said(422, "json", str(error))
        service.counts.requests.labels(name, "none", response.status_code).inc()
        service.counts.duration.labels(name).observe(monotonic() - begun)
        return response

    @app.post("/v1/moderations", openapi_extra={"requestBody": _JSON}, responses=_ERRORS)
    async def moderations(request: Request) -> Response:
        """A verdict in the shape of OpenAI's moderation, category ``adversarial``."""
        return await asked(request, "moderations", moderation)

    @app.post("/beta/litellm_basic_guardrail_api", openapi_extra={"requestBody": _JSON}, responses=_ERRORS)
    async def litellm(request: Request) -> Response:
        """A verdict in the shape of litellm's generic guardrail."""
        return await asked(request, "litellm", guardrail)

    @app.get("/v1/policy")
    async def policy() -> dict[str, Any]:
        """What decides: stages, threshold, calibration, and what an attacker reached who knows it."""
        return service.describe()

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok"}

    @app.get("/readyz", responses={503: {"description": "not ready"}})
    async def readyz() -> Response:
        """Whether every stage has answered, the policy is unchanged and there is room in the queue."""
        why = service.unready
        return _said(503, "unready", why) if why else JSONResponse({"status": "ready"})

    @app.get("/metrics")
    async def metrics() -> Response:
        """The counts, for Prometheus."""
        service.counts.depth.set(service.batcher.depth)
        return Response(generate_latest(service.counts.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", response_class=HTMLResponse)
    async def page() -> str:
        """A page to drop an image on."""
        return files("secondlook.serve").joinpath("page.html").read_text(encoding="utf-8")

    return app


async def _object(request: Request, most: int) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
        Trouble: it is none, or too large.
    """
    try:
        given = json.loads(await _body(request, most))
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise Trouble(400, "json", "the body is no JSON object")
    return given


async def _image(request: Request, most: int) -> bytes:
    """The bytes of the image of a request.

    Raises:
        Trouble: there are none, too many, or they are not what the request says.
    """
    content = await _body(request, most)
    if request.headers.get("content-type", "").split(";")[0].strip().lower() == "application/json":
        return _decoded(content)
    if not content:
        raise Trouble(400, "empty", "send the bytes of an image, or JSON with image in base64")
    return content


async def _body(request: Request, most: int) -> bytes:
    """The body of a request, counted while it comes.

    Raises:
        Trouble: it is too large, or comes too slowly.
    """
    content = bytearray()
    try:
        async with asyncio.timeout(_UPLOAD):
            async for chunk in request.stream():
                content += chunk
                if len(content) > most:
                    raise Trouble(413, "size", f"the body is larger than {most:,} bytes")
    except TimeoutError:
        raise Trouble(408, "slow", f"the body did not come within {_UPLOAD:g} s") from None
    return bytes(content)


def _decoded(content: bytes) -> bytes:
    try:
        given = json.loads(content)
    except (ValueError, RecursionError):
        raise Trouble(400, "json", "the body is no JSON") from None
    text = given.get("image") if isinstance(given, dict) else None
    if not isinstance(text, str) or not text:
        raise Trouble(400, "json", 'write {"image": "…"}, the bytes of an image in base64')
    try:
        made = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Trouble(400, "json", "image is no base64; no address of an image is fetched") from None
    return made


def _reply(service: Service, made: Checked) -> dict[str, Any]:
    verdict, policy = made.verdict, service.guard.policy
    votes = verdict.votes
    return {
        "id": verdict.id,
        "decision": _DECISIONS[verdict.decision],
        "suspicion": verdict.suspicion,
        "threshold": verdict.threshold,
        "p_value": verdict.p_value,
        "alpha": policy.calibration.alpha,
        "stage": verdict.stage,
        "looks": verdict.looks,
        "votes": None if votes is None else {"drawn": votes.drawn, "max": votes.most, "agree": votes.agree},
        "degraded": False,
        "answer": verdict.answer,
        "model": policy.model,
        "policy": service.name,
        "timing_ms": made.timing,
    }


def _failed(service: Service, trouble: Trouble) -> tuple[Response, str]:
    """What a client is told where no verdict was reached: an error, or, where that was asked for, a pass."""
    if service.limits.fail == "open" and trouble.code >= 500:
        service.counts.open.inc()
        plain = {"decision": "allow", "degraded": True, "why": trouble.sentence, "policy": service.name}
        return JSONResponse(plain), "allow"
    return _said(trouble.code, trouble.kind, trouble.sentence, trouble.after), "none"


def _said(code: int, kind: str, sentence: str, after: float = 0.0) -> JSONResponse:
    headers = {"Retry-After": str(max(round(after), 1))} if after else {}
    return JSONResponse({"error": {"kind": kind, "message": sentence}}, code, headers)
