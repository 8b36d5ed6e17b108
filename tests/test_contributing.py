"""The examples of CONTRIBUTING.md are read from the page, run, and audited."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"

# The optimum is known: away from red and green, towards blue, by the whole of eps.
MEETING = """
import sys
from pathlib import Path

import torch

from secondlook import registry
from secondlook.audit.api import run_study
from secondlook.audit.study import parse
from secondlook.defenses.guarded import Guarded
from secondlook.models import load as load_model
from secondlook.objectives.base import GuardedObjective
from secondlook.objectives.targeted import Targeted
from secondlook.randomness import Keys
from secondlook.threat import Threat

reddish = (torch.tensor([140.0, 51.0, 128.0]) / 255).view(1, 3, 1, 1).expand(2, 3, 8, 8)
keys = Keys.of(0, ["a", "b"])
flicker = registry.build("defense", "flicker", {"reach": "0.05"})
guarded = Guarded(load_model("colors:mean"), flicker)
before = guarded.decide(reddish, keys)
assert before.answer.tolist() == [0, 0] and before.votes.tolist() == [[5, 0, 0]] * 2

goal = Targeted(classes=torch.tensor([2, 2]))
bim = registry.build("attack", "bim", {"steps": "4"})
objective = GuardedObjective(goal=goal, victim=guarded, draws=3)
adversarial = bim(objective, reddish, Threat(eps=8 / 255), keys).x
assert guarded.decide(adversarial, keys).answer.tolist() == [2, 2]
moved = (adversarial - reddish).mean((0, 2, 3)) * 255
assert torch.allclose(moved, torch.tensor([-8.0, -8.0, 8.0]), atol=1e-3), moved

settings = {"false_rejection": "0.2", "calibrate_samples": "30"}
watched = Guarded(load_model("scenes:clip"), registry.build("defense", "flip-distance", settings))
x = registry.build("task", "vqa", {"samples": 8}).open().batch(range(8), watched).pairs.images
found = watched.decide(x, Keys.of(0, range(8)))
own = watched.model.embed(x)
wanted = 1 - (own * watched.model.embed(x.flip(-1))).sum(1)
assert torch.allclose(found.suspicion, wanted, atol=1e-5)
assert torch.equal(found.accepted, found.suspicion <= watched.threshold)

classes = ("red circle", "blue star")
away = registry.build("defense", "away-from-the-mean", {"length": "0.2"})
moved = Guarded(ZeroShot(watched.model, classes, "a picture of a {}"), away)
own, mean = moved.undefended.decide(x, Keys.of(0, range(8))).features, moved.adaptation.mean
further = moved.decide(x, Keys.of(0, range(8))).features
assert bool(((further @ mean) < (own @ mean) - 0.05).all())

folder = Path(sys.argv[1])
attack = {"name": "bim", "steps": 4}
near = {"eps": ["8/255"]}
flip = {"name": "flip-distance", "false_rejection": 0.2, "calibrate_samples": 30}
defenses = [{"name": "undefended"}, {"name": "flicker", "samples": 3}]
audit = run_study(parse({
    "name": "vqa", "task": {"name": "vqa", "samples": 12}, "models": ["scenes:clip"],
    "attack": attack, "adaptive": {"draws": 2}, "threat": near, "batch": 6, "examples": 2,
    "defenses": [*defenses, flip],
}, "the test"), folder / "vqa")
rows = {(cell.defense, cell.knowledge): cell.metrics for cell in audit.cells}
clean, attacked = (rows["undefended", name]["right"].value for name in ("clean", "adaptive"))
assert attacked < clean - 0.3 and clean > 0.5, (clean, attacked)
page = (folder / "vqa" / "report.html").read_text(encoding="utf-8")
for text in ("right answers", "What color is the main thing?"):
    assert text in page, text

# The transform alone stands in front of every model, in every task.
for name, model, more in (
    ("classification", "scenes:clip", {}),
    ("retrieval", "scenes:clip", {"attack": {"name": "pair-pgd", "steps": 2}}),
    ("captioning", "scenes:captioner", {}),
    ("grounding", "scenes:clip", {}),
):
    audit = run_study(parse({
        "name": name, "task": {"name": name, "samples": 4}, "models": [model], "threat": near,
        "attack": attack, "batch": 4, "examples": 1, "defenses": defenses, **more,
    }, "the test"), folder / name)
    knowledge = {cell.knowledge for cell in audit.cells if cell.defense != "undefended"}
    assert {"clean", "adaptive"} <= knowledge, (name, knowledge)

MADE = {"attack": "bim", "defense": "flicker", "model": "colors", "task": "vqa"}
for kind, name in MADE.items():
    assert name in registry.names(kind) and registry.summary(kind, name)
"""


def test_the_examples_work_together_without_touching_the_package(tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 6
    # A process of its own: what the examples register must not reach the other tests.
    done = subprocess.run(
        [sys.executable, "-", str(tmp_path)],
        input="\n".join([*examples, MEETING]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
