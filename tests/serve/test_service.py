"""The service: a verdict or a reason, whatever a client sends; a log that cannot be changed; nothing waits for ever."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image
from torch import Tensor

from secondlook.data import load
from secondlook.errors import InvalidInput
from secondlook.guard.guard import Guard
from secondlook.serve.app import make_app
from secondlook.serve.decoding import Processes, read_pixels
from secondlook.serve.log import ChainedLog, verify
from secondlook.serve.service import Limits, Service


class Here:
    """Decodes in the process of the test."""

    def __init__(self, most: int = 1_000_000) -> None:
        self.most = most

    async def pixels(self, content: bytes, until: float) -> Tensor:
        return read_pixels(content, (64, 64), self.most)

    def close(self) -> None:
        pass


def file(x: Tensor, kind: str = "PNG", **more: Any) -> bytes:
    """An image as the bytes of a file."""
    made = io.BytesIO()
    Image.fromarray((255 * x).round().byte().permute(1, 2, 0).numpy()).save(made, kind, **more)
    return made.getvalue()


CLEAN = load("scenes:test").read([5], None).images[0]
LOUD = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Guard:
    made = Guard("scenes:classifier", ["squeezing", "magnet", "noise"], alpha=0.1, calibrate_samples=80)
    made.save(tmp_path_factory.mktemp("guard") / "guard.toml")
    return made


@pytest.fixture(scope="module")
def client(guard: Guard) -> Iterator[TestClient]:
    with TestClient(make_app(Service(guard, Limits(body=200_000), decoder=Here()))) as made:
        yield made


def test_a_verdict_has_all_that_it_is_made_of(client: TestClient, guard: Guard) -> None:
    said = client.post("/v1/check", content=file(CLEAN)).json()
    assert said["decision"] == "allow" and said["answer"] in guard.guarded.classes
    assert said["p_value"] > said["alpha"] == 0.1 and said["suspicion"] <= said["threshold"]
    assert said["votes"]["drawn"] >= 6 and list(said["looks"]) == [stage.name for stage in guard.stages]
    assert set(said["timing_ms"]) == {"queue", "decode", "infer", "total"} and said["degraded"] is False
    again = guard.check(CLEAN[None], [said["id"]])[0]
    assert again.suspicion == pytest.approx(said["suspicion"], abs=1e-4)
    loud = client.post("/v1/check", json={"image": base64.encodebytes(file(LOUD)).decode()}).json()
    assert loud["decision"] == "block" and loud["answer"] is None and loud["p_value"] <= 0.1


def _header(wide: int, high: int) -> bytes:
    """A PNG that says how large it is, and has no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"x")


def _frames() -> bytes:
    made = io.BytesIO()
    two = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    two[0].save(made, "GIF", save_all=True, append_images=two[1:])
    return made.getvalue()


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"", "image/png", 400),
        (b"no image", "image/png", 422),
        (_header(50_000, 50_000), "image/png", 422),
        (_header(8_000, 8_000), "image/png", 422),
        (_header(64, 64), "image/png", 422),
        (_frames(), "image/jpeg", 422),
        (file(CLEAN)[:300], "image/png", 422),
        (b"x" * 200_001, "image/png", 413),
        (b"{}", "application/json", 400),
        (b'{"image": 5}', "application/json", 400),
        (b'{"image": "http://example.org/x.png"}', "application/json", 400),
        (b'{"image": "!!!!"}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"%PDF-1.4", "application/pdf", 422),
    ],
)
def test_what_a_client_may_send_has_an_answer(client: TestClient, content: bytes, kind: str, code: int) -> None:
    got = client.post("/v1/check", content=content, headers={"Content-Type": kind})
    assert got.status_code == code and got.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "WEBP", "BMP"])
def test_kinds_are_told_by_their_content(client: TestClient, kind: str) -> None:
    got = client.post("/v1/check", content=file(CLEAN, kind), headers={"Content-Type": "image/jpeg"})
    assert got.status_code == 200 and got.json()["decision"] in ("allow", "block")


def test_transparency_and_sixteen_bits_are_read(client: TestClient) -> None:
    for mode in ("RGBA", "I;16", "L", "P"):
        made = io.BytesIO()
        Image.new(mode, (64, 64)).save(made, "PNG")
        assert client.post("/v1/check", content=made.getvalue()).status_code == 200


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    body=st.one_of(st.binary(max_size=300), st.binary(max_size=80).map(lambda tail: file(CLEAN)[:200] + tail)),
    kind=st.sampled_from(["image/png", "application/json", "text/plain", "", "application/json; charset=utf-16"]),
    path=st.sampled_from(["/v1/check", "/v1/policy", "/v1/check/../..", "/nothing", "/%2e%2e/etc/passwd"]),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
)
def test_nothing_is_an_error_of_the_server(client: TestClient, body: bytes, kind: str, path: str, method: str) -> None:
    assert client.request(method, path, content=body, headers={"Content-Type": kind}).status_code < 500


def test_the_policy_health_and_counts_are_told(client: TestClient, guard: Guard) -> None:
    policy = client.get("/v1/policy").json()
    assert policy["stages"] == [stage.name for stage in guard.stages] and policy["calibration"]["alpha"] == 0.1
    assert policy["curve"] == sorted(policy["curve"]) and policy.get("audited") is None
    assert client.get("/healthz").json() == {"status": "ok"} and client.get("/readyz").status_code == 200
    counts = client.get("/metrics").text
    for name in (
        "requests_total",
        "stage_total",
        "queue_depth",
        "batch_size",
        "false_alarm_target",
        "drift",
        "model_info",
    ):
        assert f"secondlook_{name}" in counts
    page = client.get("/")
    assert "drop" in page.text.lower() and "http://" not in page.text.replace("http://www.w3.org/2000/svg", "")
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_other_gateways_ask_in_their_own_shapes(client: TestClient) -> None:
    urls = ["data:image/png;base64," + base64.b64encode(file(x)).decode() for x in (CLEAN, LOUD)]
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    for some, flagged in (
        (parts[:1], False),
        (parts, True),
        ([{"type": "image_url", "image_url": "http://x/y.png"}], True),
    ):
        said = client.post("/v1/moderations", json={"input": some}).json()
        assert said["results"][0]["flagged"] is said["results"][0]["categories"]["adversarial"] is flagged
    for some, action in ((urls[:1], "NONE"), (urls, "BLOCKED"), (["AAAA"], "BLOCKED"), ("x", "BLOCKED")):
        said = client.post("/beta/litellm_basic_guardrail_api", json={"images": some, "texts": []}).json()
        assert said["action"] == action
    for path in ("/v1/moderations", "/beta/litellm_basic_guardrail_api"):
        assert client.post(path, content=b"[").status_code == client.post(path, content=b"[]").status_code == 400
    assert client.post("/v1/moderations", json={}).status_code == 422


def test_a_token_is_asked_for(guard: Guard) -> None:
    with TestClient(make_app(Service(guard, decoder=Here()), "secret")) as client:
        assert client.post("/v1/check", content=file(CLEAN)).status_code == 401
        assert client.get("/v1/policy", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/v1/policy", headers={"Authorization": "Bearer secret"}).status_code == 200
        assert client.get("/healthz").status_code == client.get("/").status_code == 200


class Slow(Service):
    """Looks for two seconds."""

    def _look(self, asked: list[Any]) -> Any:
        time.sleep(2.0)
        return super()._look(asked)


def test_a_time_out_holds_and_the_loop_goes_on(guard: Guard) -> None:
    with (
        TestClient(make_app(Slow(guard, Limits(seconds=0.3), decoder=Here()))) as client,
        ThreadPoolExecutor(4) as many,
    ):
        asked = [many.submit(client.post, "/v1/check", content=file(CLEAN)) for _ in range(3)]
        assert client.get("/healthz").status_code == 200 and not any(each.done() for each in asked)
        codes = {each.result().status_code for each in asked}
        assert codes <= {503, 504} and 504 in codes
        time.sleep(0.3)
        shed = client.post("/v1/check", content=file(CLEAN))
        assert shed.status_code == 503 and int(shed.headers["retry-after"]) >= 1
        assert 'secondlook_shed_total{reason="deadline"} ' in client.get("/metrics").text


def test_who_finds_no_place_is_refused_before_the_body_is_read(guard: Guard) -> None:
    limits = Limits(seconds=0.5, room=1, batch=1)
    with TestClient(make_app(Slow(guard, limits, decoder=Here()))) as client, ThreadPoolExecutor(6) as many:
        codes = [
            each.result().status_code
            for each in [many.submit(client.post, "/v1/check", content=file(CLEAN)) for _ in range(6)]
        ]
        assert set(codes) <= {503, 504}
        assert "secondlook_shed_total" in client.get("/metrics").text


def test_open_lets_pass_and_says_so(guard: Guard) -> None:
    with TestClient(make_app(Slow(guard, Limits(seconds=0.2, fail="open"), decoder=Here()))) as client:
        said = client.post("/v1/check", content=file(CLEAN)).json()
        assert said["decision"] == "allow" and said["degraded"] is True
        assert "secondlook_fail_open_total 1.0" in client.get("/metrics").text
        assert client.post("/v1/check", content=b"no image").status_code == 422


def test_a_model_that_fails_is_not_ready(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any) -> Any:
        raise RuntimeError("weights are gone")

    monkeypatch.setattr(guard, "check", broken)
    with TestClient(make_app(Service(guard, decoder=Here()))) as client:
        got = client.get("/readyz")
        assert got.status_code == 503 and "weights are gone" in got.json()["error"]["message"]
        assert client.post("/v1/check", content=file(CLEAN)).status_code == 503


def test_a_policy_that_has_changed_is_not_served_as_the_old_one(guard: Guard, tmp_path: Path) -> None:
    guard.save(tmp_path / "guard.toml")
    with TestClient(make_app(Service(guard, file=tmp_path / "guard.toml", decoder=Here()))) as client:
        assert client.get("/readyz").status_code == 200
        (tmp_path / "guard.toml").write_text("other")
        assert "start it again" in client.get("/readyz").json()["error"]["message"]


def test_the_log_replays_and_breaks_where_it_is_changed(guard: Guard, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with TestClient(make_app(Service(guard, log=ChainedLog(path), decoder=Here()))) as client:
        said = [client.post("/v1/check", content=file(x)).json() for x in (CLEAN, LOUD, CLEAN)]
    lines = path.read_bytes().splitlines(keepends=True)
    assert verify(path)[0] == 3 and [json.loads(line)["id"] for line in lines] == [each["id"] for each in said]
    entry = json.loads(lines[0])
    assert guard.check(read_pixels(file(CLEAN), (64, 64), 10_000)[None], [entry["id"]])[0].looks == entry["looks"]
    ChainedLog(path).append({"more": 1})
    assert verify(path)[0] == 4
    for change in (
        lambda rows: [rows[0].replace(b"accepted", b"rejected"), *rows[1:]],
        lambda rows: [rows[0], *rows[2:]],
        lambda rows: [*rows[:2], b"{}\n"],
        lambda rows: [rows[1], rows[0], rows[2]],
    ):
        path.write_bytes(b"".join(change(lines)))
        with pytest.raises(InvalidInput, match="line [123]"):
            verify(path)
        with pytest.raises(InvalidInput):
            ChainedLog(path)


def test_what_cannot_be_logged_is_not_given(guard: Guard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = ChainedLog(tmp_path / "log.jsonl")
    with TestClient(make_app(Service(guard, log=log, decoder=Here()))) as client:
        real = log.append
        monkeypatch.setattr(log, "append", lambda entry: (_ for _ in ()).throw(OSError(28, "No space left")))
        assert client.post("/v1/check", content=file(CLEAN)).status_code == 503
        assert "secondlook_log_errors_total 1.0" in client.get("/metrics").text
        monkeypatch.setattr(log, "append", real)
        assert client.post("/v1/check", content=file(CLEAN)).status_code == 200
    assert verify(tmp_path / "log.jsonl")[0] == 1
    with pytest.raises(InvalidInput, match="cannot be written"):
        ChainedLog(tmp_path / "nothing" / "log.jsonl")


def test_a_decoder_that_is_killed_is_told_and_begun_again() -> None:
    async def all_of_it() -> None:
        lost: list[str] = []
        made = Processes((64, 64), 10_000, count=1, lost=lost.append)
        try:
            found = await made.pixels(file(CLEAN), time.monotonic() + 60)
            assert torch.equal(found, read_pixels(file(CLEAN), (64, 64), 10_000))
            with pytest.raises(InvalidInput, match="more pixels"):
                await made.pixels(_header(50_000, 50_000), time.monotonic() + 60)
            made._every[0].child.kill()  # type: ignore[union-attr]
            made._every[0].child.join()  # type: ignore[union-attr]
            assert torch.equal(await made.pixels(file(CLEAN), time.monotonic() + 60), found)
        finally:
            made.close()

    asyncio.run(all_of_it())
