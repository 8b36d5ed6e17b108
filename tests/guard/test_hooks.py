"""A guard behind the requests of others: what they send, and the reply that they expect."""

import asyncio
import base64
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import secondlook as sl
from secondlook.data import load as open_source
from secondlook.errors import InvalidInput
from secondlook.guard.hooks import content, langchain, litellm, nemo, openai


@pytest.fixture(scope="module")
def guard() -> sl.Guard:
    return sl.Guard("scenes:classifier", "magnet", alpha=0.1, calibrate_samples=40)


def encoded(x: Tensor) -> str:
    file = io.BytesIO()
    Image.fromarray((x * 255).round().byte().permute(1, 2, 0).numpy()).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


CLEAN = encoded(open_source("scenes:test").read([3], None).images[0])
LOUD = encoded(torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)))
TORN = base64.b64encode(b"\x89PNG\r\n").decode()


def url(image: str) -> str:
    return f"data:image/png;base64,{image}"


def part(image: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url(image)}}


@pytest.mark.parametrize(
    ("block", "found"),
    [
        ({"type": "text", "text": "data:image/png;base64,AA"}, []),
        (part("AA"), [url("AA")]),
        ({"type": "image_url", "image_url": url("AA")}, [url("AA")]),
        ({"type": "input_image", "image_url": url("AA")}, [url("AA")]),
        ({"type": "image", "base64": "AA", "mime_type": "image/png"}, ["AA"]),
        ({"type": "image", "source": {"type": "base64", "data": "AA"}}, ["AA"]),
        ({"type": "image", "url": "https://x.org/a.png"}, ["https://x.org/a.png"]),
        ({"type": "image", "file_id": "f-1"}, [""]),
        ({"type": "image_url", "image_url": 7}, [""]),
    ],
)
def test_images_are_found_in_the_blocks_of_each(block: dict[str, Any], found: list[str]) -> None:
    assert list(content.images_of([block])) == found


def test_a_text_has_no_images() -> None:
    assert list(content.images_of(url("AA"))) == [] == list(content.images_of(None))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://x.org/a.png", "a link, and nothing is fetched"),
        ("https://x.org/a,b.png", "nothing is fetched"),
        ("file:///etc/passwd", "a link, and nothing is fetched"),
        ("", "empty, and nothing is fetched"),
        ("data:image/png;base64,", "empty"),
        ("a b?", "no base64"),
        (TORN, "cannot be read as an image"),
        ("A" * 14_000_000, "more than 10 MB"),
    ],
)
def test_what_is_no_image_is_refused_by_its_name(text: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=f"image 7 .*{why}"):
        content.decoded(text, "image 7", None)


def test_pixels_are_those_of_the_file() -> None:
    expected = open_source("scenes:test").read([3], None).images[0]
    assert (content.decoded(url(CLEAN), "a", None) - expected).abs().max() < 1 / 255


def test_litellm(guard: sl.Guard) -> None:
    def asked(images: Any) -> dict[str, Any]:
        request = {"texts": ["hello"], "images": images, "input_type": "request", "litellm_call_id": "c"}
        return asyncio.run(litellm.guardrail(guard, request))

    assert asked([CLEAN, url(CLEAN)]) == asked([]) == asked(None) == {"action": "NONE"}
    found = asked([CLEAN, LOUD, "http://x"])
    assert found["action"] == "BLOCKED"
    assert (
        "image 2: it looks attacked (p = 0.0" in found["blocked_reason"]
        and "image 3 is a link" in found["blocked_reason"]
    )
    assert asked("x")["action"] == asked([None])["action"] == "BLOCKED"


def test_openai_moderation(guard: sl.Guard) -> None:
    def asked(given: Any) -> dict[str, Any]:
        reply = asyncio.run(openai.moderation(guard, {"model": "any", "input": given}))
        assert reply["model"] == "scenes:classifier" and reply["id"].startswith("modr-")
        (result,) = reply["results"]
        return dict(result)

    clean = asked([{"type": "text", "text": "hello"}, part(CLEAN)])
    assert not clean["flagged"] and clean["categories"] == {"adversarial": False}
    assert clean["category_scores"]["adversarial"] < 0.9 and clean["category_applied_input_types"] == {
        "adversarial": ["image"]
    }
    loud = asked([part(CLEAN), part(LOUD)])
    assert loud["flagged"] and loud["category_scores"]["adversarial"] == pytest.approx(1 - 1 / 41)
    assert asked([part(TORN)])["category_scores"] == {"adversarial": 1.0}
    assert asked("hello") == {
        "flagged": False,
        "categories": {"adversarial": False},
        "category_scores": {"adversarial": 0.0},
        "category_applied_input_types": {"adversarial": []},
    }
    with pytest.raises(InvalidInput, match="input is missing"):
        asked(None)


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a middleware takes of LangChain 1."""
    agents, messages = ModuleType("langchain.agents.middleware"), ModuleType("langchain.messages")
    agents.before_model = lambda can_jump_to: lambda function: (can_jump_to, function)  # type: ignore[attr-defined]
    messages.AIMessage = lambda text, **more: SimpleNamespace(type="ai", content=text, **more)  # type: ignore[attr-defined]
    for name, module in {
        "langchain": ModuleType("langchain"),
        "langchain.agents": ModuleType("langchain.agents"),
        "langchain.agents.middleware": agents,
        "langchain.messages": messages,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    yield


def test_a_middleware_of_langchain(guard: sl.Guard, stubs: None) -> None:
    jumps, before = langchain.middleware(guard)
    assert jumps == ["end"]

    def after(*contents: Any, type: str = "human") -> Any:
        return asyncio.run(before({"messages": [SimpleNamespace(type=type, content=each) for each in contents]}, None))

    assert after("hello", [part(CLEAN)]) is None is after([part(LOUD)], type="ai")
    found = after([part(CLEAN)], [{"type": "image", "base64": LOUD, "mime_type": "image/png"}])
    assert found["jump_to"] == "end" and found["messages"][0].content == langchain.REFUSAL
    assert "image 2: it looks attacked" in found["messages"][0].additional_kwargs["guard"]


def test_without_langchain_its_middleware_says_what_to_install(
    guard: sl.Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "langchain", None)
    monkeypatch.setitem(sys.modules, "langchain.agents.middleware", None)
    with pytest.raises(InvalidInput, match="pip install langchain"):
        langchain.middleware(guard)


def test_an_action_of_nemo(guard: sl.Guard) -> None:
    check = nemo.action(guard)

    def allowed(context: Any) -> bool:
        return asyncio.run(check(context=context))

    assert allowed(None) and allowed({"last_user_message": "hello"}) and allowed({"user_message": [part(CLEAN)]})
    assert not allowed({"user_message": [part(CLEAN), part(LOUD)]})
    assert not allowed({"user_message": None, "last_user_message": [part(TORN)]})


def test_the_example_of_the_page_is_the_middleware_of_an_agent(
    guard: sl.Guard, stubs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "howto" / "guard-hooks.md"
    (code,) = re.findall(r"```py\n(.*?)```", page.read_text(), re.DOTALL)
    agents = sys.modules["langchain.agents"]
    agents.create_agent = lambda model, tools, middleware: middleware  # type: ignore[attr-defined]
    guard.save(tmp_path / "guard.toml")
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec(compile(code, "the page", "exec"), made)
    ((_, before),) = made["agent"]
    found = asyncio.run(before({"messages": [SimpleNamespace(type="human", content=[part(LOUD)])]}, None))
    assert found["messages"][0].content == "This image cannot be used."
