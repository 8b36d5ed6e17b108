"""The examples of CONTRIBUTING.md are read from the page, run, and audited by hand."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"

# The optimum is known: away from red and green, towards blue, by the whole of eps.
MEETING = """
import torch

from secondlook import registry
from secondlook.goals.base import Aim
from secondlook.goals.targeted import WinVotes
from secondlook.models import load
from secondlook.randomness import Keys
from secondlook.threat import Threat

reddish = (torch.tensor([140.0, 51.0, 128.0]) / 255).view(1, 3, 1, 1).expand(2, 3, 8, 8)
keys = Keys.of(0, ["a", "b"])
mirror = registry.build("defence", "mirror", {}, model=load("colours:mean"))
before = mirror.decide(reddish, keys)
assert before.accepted.all() and before.answer.tolist() == [0, 0]

goal = WinVotes(classes=torch.tensor([2, 2]))
bim = registry.build("attack", "bim", {"steps": "4"})
adversarial = bim(Aim(goal=goal, victim=mirror), reddish, Threat(eps=8 / 255), keys).x
after = mirror.decide(adversarial, keys)
assert after.accepted.all() and after.answer.tolist() == [2, 2]
moved = (adversarial - reddish).mean((0, 2, 3)) * 255
assert torch.allclose(moved, torch.tensor([-8.0, -8.0, 8.0]), atol=1e-3), moved

task = registry.build("task", "plain", {"samples": 20}).open()
batch = task.batch(task.rows, task.classifier(load("colours:mean")))
assert len(set(batch.ids)) == 20 and (batch.target != batch.truth).all()
assert (mirror.decide(batch.images, batch.keys).answer == batch.truth).all()

MADE = {"attack": "bim", "defence": "mirror", "model": "colours", "task": "plain"}
for kind, name in MADE.items():
    assert name in registry.names(kind) and registry.summary(kind, name)
"""


def test_the_examples_work_together_without_touching_the_package() -> None:
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 4
    # A process of its own: what the examples register must not reach the other tests.
    done = subprocess.run(
        [sys.executable, "-"],
        input="\n".join([*examples, MEETING]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
