"""A study's keys and values, checked before anything runs."""

from pathlib import Path
from typing import Any

import pytest

from secondlook.audit.study import Study, believing_sweep, parse, read, shipped, sweep
from secondlook.errors import InvalidInput, SecondlookError


def write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_shipped_study_reads_and_explains_itself(name: str) -> None:
    study = read(name)
    assert study.name == name and study.title and study.about


def test_what_a_file_says_is_what_the_study_holds(tmp_path: Path) -> None:
    study = read(write(tmp_path, 'seed = 3\n[threat]\nnorm = "l2"\neps = ["1/2", 2]\n'))
    assert (study.name, study.seed, study.threat.norm) == ("mine", 3, "l2")
    assert study.threat.eps == [0.5, 2.0]
    assert (study.batch, study.models) == (50, ["scenes:clip"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed = 1", r"mine\.toml: unknown key 'sed'; did you mean seed\?"),
        ("knowlege = ['clean']", r"unknown key 'knowlege'; did you mean knowledge\?"),
        ("zzzzzz = 1", r"unknown key 'zzzzzz'; there is: name, title, about, seed"),
        ("[threat]\neps = ['8/255']\nnrm = 'l2'", r"unknown key 'threat.nrm'; did you mean norm\?"),
        ("batch = 0", r"batch = 0: .*greater than or equal to 1"),
        ("rescore = 0", r"rescore = 0: .*greater than or equal to 1"),
        ("seed = 'x'", r"seed = 'x': .*integer"),
        ("models = []", r"models = \[\]: .*at least 1 item"),
        ("defenses = []", r"defenses = \[\]: .*at least 1 item"),
        ("models = 'scenes:clip'", r"models = 'scenes:clip': .*list"),
        ("knowledge = ['clear']", r"knowledge.0 = 'clear': .*'clean', 'oblivious', 'transfer'"),
        ("[threat]\nnorm = 'linfinity'", r"threat.norm = 'linfinity': .*'linf', 'l2'"),
        ("[threat]\neps = []", r"threat.eps = \[\]: .*at least 1 item"),
        ("[threat]\neps = ['a lot']", r"threat.eps.0 = 'a lot': .*write 8/255 or 0.0314"),
        ("[threat]\neps = ['8/0']", r"'8/0' is no finite number; write 8/255"),
        ("[threat]\neps = [8]", r"eps=8 is outside \[0, 1\]; .*write 8/255"),
        ("[threat]\neps = ['4/255', 1]", r"eps=1 bounds nothing; .*write 1/255"),
        ("[threat]\neps = [0]", r"eps=0 is not positive; write 8/255"),
        ("[threat]\neps = [-0.1]", r"eps=-0.1 is not positive"),
        ("name = '../../x'", r"name = '../../x': it becomes a folder in runs/; write letters"),
        ("name = '/x'", r"name = '/x': it becomes a folder"),
        ("name = '..'", r"name = '..': it becomes a folder"),
        ("name = ''", r"name = '': it becomes a folder"),
        ('name = "a\\u001b[2Jb"', r"name = 'a\\x1b\[2Jb': it becomes a folder"),
        ("seed = ", r"mine\.toml is no TOML"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_mend(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        read(write(tmp_path, text))
    assert "\n" not in str(caught.value) and "Value error" not in str(caught.value)


def test_attacks_stand_in_for_an_attack_that_is_not_given() -> None:
    several = {"name": "s", "attacks": [{"name": "pgd"}, {"name": "apgd"}]}
    study = parse(several, "here")
    assert study.attack == {} and len(study.attack_tables("oblivious", bare=True)) == 2
    # A study that is read again from its own run is the same.
    assert parse(study.model_dump(), "there") == study
    both = parse(several | {"attack": {"name": "illusion"}}, "here")
    assert [t["name"] for t in both.attack_tables("adaptive", bare=False)] == ["illusion", "pgd", "apgd"]
    alone = parse({"name": "s"}, "here")
    assert alone.attack_tables("oblivious", bare=True) == [{"name": "illusion"}]


def test_an_attack_says_which_rows_it_makes() -> None:
    study = parse(
        {
            "name": "s",
            "knowledge": ["clean", "oblivious"],
            "adaptive": {"draws": 3},
            "attack": {"name": "pgd"},
            "attacks": [{"name": "square", "knowledge": ["adaptive"]}],
        },
        "here",
    )
    assert study.known == ["clean", "oblivious", "adaptive"]
    assert study.attack_tables("oblivious", bare=False) == [{"name": "pgd"}]
    assert study.attack_tables("adaptive", bare=False) == [{"name": "square"}]
    assert study.attack_tables("transfer", bare=False) == []


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"attacks": [{"name": "pgd", "knowledge": ["adaptiv"]}]}, r"'adaptiv' is unknown"),
        ({"attacks": [{"name": "pgd"}], "attack": {"steps": 3}}, r"write attacks.0.steps"),
        ({"attacks": {"name": "pgd"}}, r"attacks = .*list"),
    ],
)
def test_attacks_that_do_not_fit_are_named(table: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse({"name": "s", **table}, "here")


def test_bytes_that_are_no_text_are_no_study(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="is no TOML"):
        read(str(path))


def test_variables_stay_as_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is filled in after all is told where names are opened; a study is stored as it was written.
    monkeypatch.setenv("PICTURES", 'quote" and \\ backslash')
    text = 'title = "${PICTURES} $PICTURES"\nabout = "$HOME"\n[task]\ndata = "folder:${PICTURES}/cats"\n'
    study = read(write(tmp_path, text))
    assert study.task == {"data": "folder:${PICTURES}/cats"}
    assert (study.title, study.about) == ("${PICTURES} $PICTURES", "$HOME")


@pytest.mark.parametrize("text", ["x = " + "[" * 5000, "x = " + "{a = " * 5000])
def test_a_study_of_great_depth_is_no_toml(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput, match=r"mine\.toml is no TOML"):
        read(write(tmp_path, text))


@pytest.mark.parametrize("name", ["defualt", "defualt.toml", "nowhere/mine.toml", "."])
def test_an_unknown_study_offers_what_there_is(name: str) -> None:
    with pytest.raises(InvalidInput, match="unknown study|no such file") as caught:
        read(name)
    assert "default" in str(caught.value)
    assert ("did you mean default?" in str(caught.value)) == name.startswith("defualt")


def test_a_folder_is_no_study(tmp_path: Path) -> None:
    (tmp_path / "x.toml").mkdir()
    with pytest.raises(SecondlookError, match="is a folder and no study"):
        read(str(tmp_path / "x.toml"))


@pytest.mark.parametrize(
    ("given", "known"),
    [
        (["adaptive"], ["clean", "adaptive"]),
        (["adaptive", "transfer", "clean", "adaptive"], ["clean", "transfer", "adaptive"]),
        ([], ["clean"]),
    ],
)
def test_the_clean_row_is_always_there_and_first(given: list[str], known: list[str]) -> None:
    assert parse({"name": "x", "knowledge": given}, "here").knowledge == known


def test_lists_are_swept_in_all_combinations() -> None:
    table: dict[str, Any] = {"name": "pgd", "steps": [1, 2], "step": 0.1, "jpeg": [0, 80]}
    found = list(sweep(table))
    assert [(t["steps"], t["jpeg"]) for t in found] == [(1, 0), (1, 80), (2, 0), (2, 80)]
    assert all(t["name"] == "pgd" and t["step"] == 0.1 for t in found)
    assert list(sweep({})) == [{}]
    with pytest.raises(InvalidInput, match=r"steps = \[\] sweeps over nothing"):
        list(sweep({"name": "pgd", "steps": []}))


def test_beliefs_are_swept_beside_the_settings_of_an_attack() -> None:
    given = {"name": "pgd", "steps": [1, 2], "instead": [{}, {"quality": [5, 9]}]}
    found = list(believing_sweep(given, believing=True))
    assert [(each["steps"], each["instead"]) for each in found] == [
        (steps, instead) for steps in (1, 2) for instead in ({}, {"quality": 5}, {"quality": 9})
    ]
    # Whoever does not know the defense, or is alone with the model, has nothing to believe.
    known = list(believing_sweep({"name": "pgd", "instead": {"quality": 5}}, believing=False))
    assert known == [{"name": "pgd", "instead": {}}]
    with pytest.raises(InvalidInput, match=r"instead = 'x' is no table; write \{ samples = 3 \}"):
        list(believing_sweep({"name": "pgd", "instead": "x"}, believing=True))


def test_a_study_goes_through_json_unchanged() -> None:
    study = read("default")
    assert Study.model_validate_json(study.model_dump_json()) == study
