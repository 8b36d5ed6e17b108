"""What is known of scenes beside their captions."""

from secondlook.data import load
from secondlook.scenes.source import CaptionedScenes
from secondlook.scenes.world import COLORS, GROUNDS, PATTERNS, PLACES, SIZES, TEXTURES
from secondlook.tasks.caption_truth import SceneFacts, facts
from secondlook.tasks.captioning import CaptioningTask

SOURCE = load("scenes:test", n=40).captioned()


def test_the_main_thing_is_that_of_the_class_and_what_is_said_of_it_is_true() -> None:
    known = facts(SOURCE)
    assert isinstance(known, SceneFacts) and isinstance(SOURCE, CaptionedScenes)
    labels = SOURCE.source.read(range(40), None).truth
    for row, label in enumerate(labels.tolist()):
        found = known.attributes(row)
        assert f"{found['color']} {found['shape']}" == SOURCE.source.classes[label]
        truth = known.judge(
            f"a {found['size']} {found['texture']} {found['color']} {found['shape']} in the "
            f"{found['place']} on a {found['background']} background",
            row,
        )
        assert truth.main and truth.whole and truth.claims >= 3


def test_every_value_is_a_word_of_the_world() -> None:
    known = SceneFacts(load("scenes:test", n=200).captioned())
    found = [known.attributes(row) for row in range(200)]
    worlds = {
        "color": COLORS,
        "size": SIZES,
        "texture": TEXTURES,
        "place": PLACES,
        "background": GROUNDS,
        "pattern": PATTERNS,
        "things": ("1", "2", "3"),
    }
    for attribute, values in worlds.items():
        assert {each[attribute] for each in found} <= set(values)
    assert {each["things"] for each in found} == {"1", "2", "3"}


def test_an_audit_knows_the_samples_of_its_task_by_name() -> None:
    task = CaptioningTask(samples=5, seed=3).open()
    found = task.attributes()
    assert list(found) == list(task.ids)
    known = SceneFacts(task.source)
    names = dict(zip(task.source.ids, range(len(task.source)), strict=True))
    assert all(found[name] == known.attributes(names[name]) for name in found)
