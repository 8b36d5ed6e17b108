"""``sl.evaluate``: the same audit as a study's, of a model and data that are held in memory."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import secondlook as sl
from secondlook import data, registry
from secondlook.api.memory import MemorySource, collected
from secondlook.audit.finish import read_audit
from secondlook.schema import Audit
from tests.analytic import directions, halving_eps, images, worst_lead

X = images(30, 96, 160)
NET = nn.Sequential(nn.Flatten(), nn.Linear(48, 5, bias=False))
NET[1].weight.data = directions(5).flatten(1).clone()
Y = NET(X).argmax(1)
THREAT = halving_eps(directions(5), X, Y, "linf")
QUICK = {"attacks": [{"name": "apgd", "steps": 10, "loss": "cw"}], "eps": THREAT.eps}


class Samples(Dataset[Any]):
    """Single images with their labels."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return X[row], int(Y[row])


def batches() -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(X.split(7), Y.split(7), strict=True)


FORMS: dict[str, Any] = {
    "pair of tensors": lambda: (X, Y),
    "pair of arrays": lambda: (X.numpy(), Y.numpy()),
    "pair in fp64": lambda: (X.double(), Y[:, None]),
    "list of batches": lambda: list(batches()),
    "generator of batches": batches,
    "loader": lambda: DataLoader(TensorDataset(X, Y), batch_size=8),
    "data set": lambda: TensorDataset(X, Y),
    "data set of one": Samples,
    "source": lambda: MemorySource((X * 255).round().byte(), Y, [str(k) for k in range(5)]),
}


def rows(audit: Audit) -> list[tuple[Any, ...]]:
    return [(cell.defense, cell.attack, cell.knowledge, cell.outcomes) for cell in audit.cells]


@pytest.fixture(scope="module")
def audit() -> Audit:
    return sl.evaluate(NET, (X, Y), defenses=["undefended", "jpeg"], **QUICK)


def test_the_closed_form_is_in_the_table(audit: Audit) -> None:
    robust = int((worst_lead(directions(5), X, Y, THREAT) < 0).sum())
    attacked = [c for c in audit.cells if c.defense == "undefended" and c.knowledge != "clean"]
    assert attacked
    for cell in attacked:
        # The adversarial goes on the grid of an 8-bit file, which takes some budget off.
        assert robust <= cell.outcomes.correct <= robust + 6
    clean = [c for c in audit.cells if c.defense == "undefended" and c.knowledge == "clean"]
    assert clean[0].outcomes.correct == len(X)


@pytest.mark.parametrize("form", FORMS)
def test_data_of_any_form_gives_the_same(form: str) -> None:
    one = sl.evaluate(NET, FORMS[form](), attacks="fgsm", eps=THREAT.eps)
    assert rows(one) == rows(sl.evaluate(NET, (X, Y), attacks="fgsm", eps=THREAT.eps))


def test_data_by_name_is_that_of_the_source() -> None:
    source = data.load("scenes:test")
    x, y = source.read(range(8), size=(64, 64))
    model = sl.load("scenes:classifier")
    named = sl.evaluate("scenes:classifier", "scenes:test", samples=8, attacks="fgsm", eps="4/255")
    assert {cell.n for cell in named.cells} == {8}
    held = sl.evaluate(model, (x, y), attacks="fgsm", eps="4/255")
    wrapped = sl.evaluate(lambda x: model(x), (x, y), attacks="fgsm", eps="4/255")
    assert rows(held) == rows(wrapped)


def test_the_logits_of_a_function_are_the_classes_of_a_named_source() -> None:
    model = sl.load("scenes:classifier")
    named = sl.evaluate("scenes:classifier", "scenes:test", samples=8, attacks="fgsm", eps="4/255")
    ours = sl.evaluate(lambda x: model(x), "scenes:test", samples=8, attacks="fgsm", eps="4/255")
    assert rows(named) == rows(ours)
    with pytest.raises(sl.InvalidInput, match=r"answers 5 logits and the data has 64 classes"):
        sl.evaluate(lambda x: model(x)[:, :5], "scenes:test", attacks="fgsm", eps="4/255")


def test_an_embedder_is_a_zero_shot_classifier_of_the_classes() -> None:
    source = data.load("scenes:test")
    x, y = source.read(range(8), size=(64, 64))
    found = sl.evaluate("scenes:clip", (x, y), classes=source.classes, attacks="fgsm", eps="8/255")
    assert found.cells[0].outcomes.correct >= 6
    with pytest.raises(sl.InvalidInput, match=r"write classes=\[\.\.\.\]"):
        sl.evaluate("scenes:clip", (x, y), attacks="fgsm", eps="8/255")


def test_what_a_network_works_in_place_on_is_a_copy() -> None:
    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = NET(x.sub_(0.1).mul_(0.9))
            return out

    class Copying(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = NET((x - 0.1) * 0.9)
            return out

    one, two = (sl.evaluate(net(), (X, Y), **QUICK) for net in (InPlace, Copying))
    assert rows(one) == rows(two)


def test_gray_images_are_evaluated_too() -> None:
    x = X[:, :1]
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    audit = sl.evaluate(net, (x, net(x).argmax(1)), attacks="fgsm", eps="8/255")
    assert audit.cells[0].outcomes.correct == len(x)


def test_attacks_and_defenses_may_be_tables_or_objects() -> None:
    tables = sl.evaluate(NET, (X, Y), **QUICK)
    objects = sl.evaluate(NET, (X, Y), attacks=sl.APGD(steps=10, loss="cw"), eps=THREAT.eps, defenses="undefended")
    assert rows(tables) == rows(objects)
    assert [c.settings for c in tables.cells] == [c.settings for c in objects.cells]


def test_several_radii_are_several_rows() -> None:
    audit = sl.evaluate(NET, (X, Y), attacks="fgsm", eps=["4/255", 8 / 255])
    assert {round(cell.threat.eps * 255) for cell in audit.cells} == {0, 4, 8}


def test_only_the_first_samples_are_taken() -> None:
    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield X, Y

    assert len(collected(endless(), 40)[0]) == 40
    assert sl.evaluate(NET, (X, Y), samples=5, attacks="fgsm", eps="8/255").cells[0].n == 5


class TestTheRun:
    def test_is_saved_as_the_command_line_leaves_it(self, audit: Audit, tmp_path: Path) -> None:
        out = audit.save(tmp_path / "mine")
        assert {"audit.json", "report.html", "run.json", "records.jsonl"} <= {path.name for path in out.iterdir()}
        assert read_audit(out).cells == audit.cells
        assert list((out / "adversarial").rglob("*.safetensors"))

    def test_is_saved_into_no_folder_that_holds_something(self, audit: Audit, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(sl.InvalidInput, match="holds something already; name a new folder"):
            audit.save(tmp_path)

    def test_is_removed_with_the_audit_and_after_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        found = sl.evaluate(NET, (X, Y), attacks="fgsm", eps="8/255")
        assert len(list(tmp_path.iterdir())) == 1
        lost = pickle.loads(pickle.dumps(found))
        del found
        assert not list(tmp_path.iterdir())
        with pytest.raises(sl.InvalidInput, match="the run that made this audit is gone"):
            lost.save(tmp_path / "lost")
        with pytest.raises(sl.InvalidInput, match="raised ZeroDivisionError"):
            sl.evaluate(lambda x: NET(x) if len(x) == 1 else 1 / 0, (X, Y), eps="8/255")
        assert not list(tmp_path.iterdir())

    def test_leaves_no_model_and_no_data_behind(self, audit: Audit) -> None:
        for kind in ("model", "data"):
            assert not registry.find(kind, "memory").listed()  # type: ignore[arg-type, attr-defined]

    def test_shows_itself(self, audit: Audit, capsys: pytest.CaptureFixture[str]) -> None:
        audit.show()
        assert "jpeg" in capsys.readouterr().out
        assert "jpeg" in audit._repr_html_()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"data": X}, r"data is Tensor; give a pair \(x, y\), a DataLoader"),
        ({"data": 3}, r"data is int; give a pair \(x, y\)"),
        ({"data": []}, "data gives nothing"),
        ({"data": "scenes:tests"}, "did you mean"),
        ({"data": [{"image": X, "label": Y}]}, r"dicts with 'image', 'label'; .*batch\['image'\]"),
        ({"data": [X, X, X]}, r"data gives Tensor at 0; give pairs \(x, y\)"),
        ({"data": [(X, Y, Y)]}, r"data gives 3 things at 0; give pairs \(x, y\)"),
        ({"data": [(X, Y), (X[..., :2], Y)]}, r"images of \(3, 4, 4\) and of \(3, 4, 2\)"),
        ({"data": (X * 255, Y)}, "divide by 255"),
        ({"data": ((X * 255).byte(), Y)}, "is uint8; .* / 255"),
        ({"data": (X, Y * 0 - 1)}, "y holds -1 and the model has 5 classes"),
        ({"data": (X, Y[:4])}, "has 4 labels for 30 images"),
        ({"model": 3}, "model=3 is no model"),
        ({"model": sl.defend(NET, "jpeg")}, "has a defense around it; give the model itself"),
        ({"model": "scenes:vae"}, "neither embeds nor classifies"),
        ({"attacks": ["autoatack"]}, "did you mean autoattack"),
        ({"attacks": [3]}, "3 is no attack or defense; write a name"),
        ({"attacks": {"name": "apgd", "step": 3}}, "field of attack 'apgd'"),
        ({"defenses": ["jpg"]}, "unknown defense 'jpg'; did you mean jpeg"),
        ({"eps": 8}, "write 8/255"),
        ({"eps": "many"}, "eps='many' is not a number"),
        ({"knowledge": ["white-box"]}, "knowledge"),
        ({"norm": "Linf"}, "norm"),
        ({"classes": ["a", "b"]}, r"there are 2 classes"),
        ({"device": "gpu"}, "device='gpu'"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], says: str) -> None:
    full = {"model": NET, "data": (X, Y), "attacks": "fgsm", "eps": "8/255"} | given
    with pytest.raises(sl.InvalidInput, match=says):
        sl.evaluate(full.pop("model"), full.pop("data"), **full)


def test_pixels_are_put_on_the_grid_of_a_file() -> None:
    x = torch.from_numpy(np.random.default_rng(0).random((2, 3, 4, 4)))
    held, _ = collected((x, [0, 1]))
    read = MemorySource(held, torch.tensor([0, 1]), ("a", "b")).read([1, 0], None).images
    assert torch.equal(read * 255, (read * 255).round())
    assert float((read.flip(0) - x).abs().max()) <= 0.5 / 255 + 1e-6


def test_the_hash_is_of_the_pixels_themselves() -> None:
    held, truth = collected((X, Y))
    other = held.clone()
    other[3, 0, 0, 0] += 1
    one, same, changed = (MemorySource(x, truth, ("a", "b", "c", "d", "e")).hash for x in (held, held.clone(), other))
    assert one == same != changed
