"""The painter's network, its flow in closed form, guidance, and its training."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models import load
from secondlook.randomness import Keys
from secondlook.scenes.models.clip import TOWERS, ClipNetwork
from secondlook.scenes.models.painter import LATENT, PainterNetwork, ScenePainter
from secondlook.scenes.source import render_batch
from secondlook.scenes.tokenizer import PAD, Tokenizer
from secondlook.scenes.training.dataset import SceneSet
from secondlook.scenes.training.loop import Recipe, Training
from secondlook.scenes.training.painter import painting_loss
from secondlook.scenes.training.train import class_prompts
from tests.analytic import global_generators

TEXTS = ["a red circle", "a large blue star on the left by itself", "ring"]
KEYS = Keys.of(0, range(3))


def network(**settings: int) -> PainterNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = {"width": 16, "words": 16, "depth": 2, **settings}
        return PainterNetwork(vocabulary=Tokenizer().size, **small).eval()


def painter() -> ScenePainter:
    return ScenePainter("scenes:painter", network().requires_grad_(False))


class Straight(PainterNetwork):
    """Flows from where it is to a picture that the number of words decides, and counts."""

    def forward(self, latent: Tensor, t: Tensor, words: Tensor, mask: Tensor, style: Tensor | None = None) -> Tensor:
        wanted = mask.sum(1).view(-1, 1, 1, 1) / 10
        return (latent - wanted) / t.view(-1, 1, 1, 1)


class First(torch.nn.Module):
    """The first three channels of a latent for its colors."""

    def forward(self, latent: Tensor) -> Tensor:
        return latent[:, :3]


def straight() -> ScenePainter:
    made = Straight(vocabulary=Tokenizer().size, width=16, words=16).eval()
    made.decoder = First()  # type: ignore[assignment]
    return ScenePainter("straight", made)


@pytest.mark.parametrize("steps", [1, 4, 8])
def test_a_straight_flow_ends_where_it_leads_whatever_the_steps(steps: int) -> None:
    with torch.no_grad():
        made = straight().paint(TEXTS, KEYS, steps=steps, guidance=1)
    words = torch.tensor([5.0, 11.0, 3.0]).view(-1, 1, 1, 1)
    assert torch.allclose(made, torch.sigmoid(words / 10).expand_as(made), atol=1e-4)


def test_guidance_goes_on_beyond_what_is_painted_without_a_text() -> None:
    """Two marks without a text: from 0.2 towards the text's own and as far again."""
    made = straight().paint(TEXTS[:1], KEYS[:1], steps=1, guidance=2)
    assert torch.allclose(made, torch.sigmoid(torch.tensor(0.2 + 2 * 0.3)).expand_as(made))


def test_passes_are_counted_and_twice_with_guidance() -> None:
    with counting() as ledger:
        painter().paint(TEXTS, KEYS, steps=3, guidance=1)
        painter().paint(TEXTS, KEYS, steps=3, guidance=2)
    assert ledger.by_model == {"scenes:painter": [3 * 3 + 3 * 6, 0]}


def test_a_painting_belongs_to_its_text_and_key() -> None:
    brush, before = painter(), global_generators()
    made = brush.paint(TEXTS, KEYS)
    assert made.shape == (3, 3, 64, 64)
    alone = torch.cat([brush.paint(TEXTS[r : r + 1], KEYS[r : r + 1]) for r in range(3)])
    assert torch.allclose(made, alone, atol=1e-5)
    assert not torch.allclose(made, brush.paint(TEXTS, KEYS.fold("again")), atol=1e-3)
    assert not torch.allclose(made[:1], brush.paint(TEXTS[1:2], KEYS[:1]), atol=1e-3)
    assert global_generators() == before


def test_a_style_is_a_part_of_the_draw_and_leaves_the_other_weights_alone() -> None:
    plain, styled = network(), network(style=5)
    kept = plain.state_dict()
    assert all(torch.equal(styled.state_dict()[name], value) for name, value in kept.items())
    ids = torch.from_numpy(Tokenizer().encode(TEXTS[:1]))
    given = (KEYS[:1].normal(LATENT), torch.tensor([0.5]), styled.encode_text(ids), ids != PAD)
    with torch.no_grad():
        assert torch.equal(plain(*given), styled(*given))
        one, other = (styled(*given, torch.full((1, 5), level)) for level in (0.2, 0.7))
    assert not torch.allclose(one, other, atol=1e-3)
    brush = ScenePainter("styled", styled.requires_grad_(False))
    made = brush.paint(TEXTS, KEYS)
    assert torch.allclose(made[2:], brush.paint(TEXTS[2:], KEYS[2:]), atol=1e-5)


def said(texts: list[str]) -> tuple[Tensor, Tensor]:
    """Certain chances of the words of texts, and their mask."""
    ids = torch.from_numpy(Tokenizer().encode(texts))[:, 1:]
    ids = ids[:, : int((ids != PAD).sum(1).max())]
    return F.one_hot(ids, Tokenizer().size).float(), ids != PAD


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_words_that_are_certain_paint_what_the_text_does(guidance: float) -> None:
    brush, (words, mask) = painter(), said(TEXTS)
    made = brush.paint_soft(words, mask, KEYS, steps=3, guidance=guidance)
    wanted = brush.paint(TEXTS, KEYS, steps=3, guidance=guidance)
    assert torch.allclose(made, wanted, atol=1e-5)
    halves = brush.paint_soft((words + words.roll(1, -1)) / 2, mask, KEYS, guidance=guidance)
    assert not torch.allclose(halves, wanted, atol=1e-3)


def test_what_fills_a_row_up_is_not_painted() -> None:
    brush, (words, mask) = painter(), said(TEXTS)
    other = torch.where(mask[..., None], words, words.roll(3, -1))
    made = [brush.paint_soft(each, mask, KEYS, steps=2) for each in (words, other)]
    assert torch.allclose(*made, atol=1e-6)
    alone = brush.paint_soft(words[2:, :2], mask[2:, :2], KEYS[2:], steps=2)
    assert torch.allclose(made[0][2:], alone, atol=1e-5)


def test_the_gradient_comes_back_to_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Central differences in fp64, through steps, guidance and the decoder."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    brush, (words, mask) = painter(), said(TEXTS)
    brush.network.double()
    words = (0.9 * words.double() + 0.1 / words.shape[-1]).requires_grad_()
    weights, away = KEYS.normal((3, 64, 64), like=words), KEYS.normal(words.shape[1:], like=words)

    def told(given: Tensor) -> Tensor:
        made = brush.paint_soft(given, mask, KEYS, steps=3, guidance=2.0)
        return (made * weights).flatten(1).sum(1)

    (slope,) = torch.autograd.grad(told(words).sum(), words)
    with torch.no_grad():
        wanted = (told(words + 1e-5 * away) - told(words - 1e-5 * away)) / 2e-5
    assert float(wanted.abs().min()) > 0
    assert torch.allclose((slope * away).flatten(1).sum(1), wanted, rtol=1e-5)


def test_soft_passes_are_counted_both_ways() -> None:
    """The first step without a text is the only pass that no gradient comes back through."""
    words, mask = said(TEXTS)
    words.requires_grad_()
    with counting() as ledger:
        made = painter().paint_soft(words, mask, KEYS, steps=3, guidance=2)
        torch.autograd.grad(made.sum(), words)
    assert ledger.by_model == {"scenes:painter": [3 * 6, 3 * 5]}


@pytest.mark.parametrize(
    ("rows", "how", "told"), [(2, {}, "3 key"), (3, {"steps": 0}, "steps=0"), (3, {"guidance": -1.0}, "guidance=-1")]
)
def test_soft_words_that_do_not_fit_are_told(rows: int, how: dict[str, float], told: str) -> None:
    words, mask = said(TEXTS)
    with pytest.raises(InvalidInput, match=told):
        painter().paint_soft(words[:rows], mask[:rows], KEYS, **how)  # type: ignore[arg-type]


def test_padding_is_not_read() -> None:
    net, ids = network(), torch.from_numpy(Tokenizer().encode(TEXTS[:1]))
    short = ids[:, : int((ids != PAD).sum())]
    latent, t = KEYS[:1].normal(LATENT), torch.tensor([0.5])
    with torch.no_grad():
        seen = [net(latent, t, net.encode_text(each), each != PAD) for each in (ids, short)]
    assert torch.allclose(*seen, atol=1e-5)


def test_what_is_too_long_is_told() -> None:
    assert not painter().truncates(" ".join(["red"] * 46))
    assert painter().truncates(" ".join(["red"] * 47))
    with pytest.raises(InvalidInput, match="none of them empty"):
        painter().paint(["red", ""], KEYS[:2])


def scenes(n: int = 12) -> SceneSet:
    found = render_batch(1, "train", range(n))
    texts = [text for five in found.captions for text in five]
    return SceneSet(
        pixels=torch.from_numpy(found.images).permute(0, 3, 1, 2).contiguous(),
        captions=torch.from_numpy(Tokenizer().encode(texts)).view(n, 5, -1),
        labels=torch.from_numpy(found.labels),
    )


def test_its_training_gives_it_the_decoder_and_lowers_the_loss(tmp_path: Path) -> None:
    net, data = network(width=32), scenes()
    loss = painting_loss(net, data, class_prompts(), "cpu")
    vae = load("scenes:vae").network
    x = data.images(torch.arange(4))
    with torch.no_grad():
        code = (vae.encode(x).mean - net.mean) / net.deviation
        assert torch.allclose(net.decode(code), vae.decode(vae.encode(x).mean), atol=1e-3)
        assert float(code.std()) == pytest.approx(1, abs=0.3)
    first = float(loss(torch.arange(12), torch.Generator().manual_seed(0)).detach())
    recipe = Recipe(steps=30, batch=12, rate=5e-3, average=0.5)
    decoder = {key: value.clone() for key, value in net.decoder.state_dict().items()}
    Training(net, recipe, tmp_path / "p.checkpoint").run(loss, 12, lambda *_: None)
    last = float(loss(torch.arange(12), torch.Generator().manual_seed(0)).detach())
    assert last < 0.95 * first
    kept = net.decoder.state_dict()
    assert all(torch.allclose(kept[key], value, atol=1e-5) for key, value in decoder.items())


@pytest.mark.parametrize("tower", TOWERS)
def test_every_eye_looks_at_scenes_and_at_one_picture_by_itself(tower: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ClipNetwork(tower=tower, vocabulary=Tokenizer().size, dim=24, words=16).eval()  # type: ignore[arg-type]
    x = scenes(4).images(torch.arange(4))
    with torch.no_grad():
        seen, ids = net.embed_image(x), torch.from_numpy(Tokenizer().encode(TEXTS))
        assert seen.shape == net.embed_text(ids).shape[:0] + (4, 24)
        assert torch.allclose(seen[1:2], net.embed_image(x[1:2]), atol=1e-5)
        assert torch.allclose(seen.norm(dim=1), torch.ones(4), atol=1e-5)
