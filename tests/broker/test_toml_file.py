"""Reviewed TOML becomes frozen types, or every problem by file, key and nearest valid name."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker import toml_file
from broker.errors import ConfigurationError


class Wheel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: int
    colour: str = "black"


class Car(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    wheels: tuple[Wheel, ...] = ()
    spare: Wheel | None = None
    doors: dict[str, Wheel] = {}
    notes: dict[str, Any] = {}


def problems_of(value: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        toml_file.convert(value, Car, where="car.toml")
    return refused.value.problems


def test_a_file_is_read_as_toml(tmp_path: Path) -> None:
    path = tmp_path / "car.toml"
    path.write_text('name = "grün"\n', encoding="utf-8")
    assert toml_file.read(path) == {"name": "grün"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "no such file", id="a file that is not there"),
        pytest.param(b"name = ", "Invalid value", id="text that is not TOML"),
        pytest.param(b'name = "a"\nname = "b"', "overwrite", id="a key twice"),
        pytest.param(b'name = "\xff"', "decode", id="bytes that are not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_problem_that_names_it(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "car.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as refused:
        toml_file.read(path)
    (problem,) = refused.value.problems
    assert problem.startswith(f"{path}: ")
    assert said in problem


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="directory"):
        toml_file.read(tmp_path)


def test_what_is_right_becomes_the_type() -> None:
    value = {"name": "a", "wheels": [{"size": 1}], "spare": {"size": 2}, "doors": {"left": {"size": 3}}, "notes": {"x": [1]}}
    assert toml_file.convert(value, Car, where="car.toml") == Car("a", (Wheel(1),), Wheel(2), {"left": Wheel(3)}, {"x": [1]})


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        pytest.param({"nmae": "a"}, "car.toml: unknown key 'nmae' (did you mean 'name'?)", id="at the top"),
        pytest.param({"name": "a", "zzz": 1}, "car.toml: unknown key 'zzz'", id="with nothing near"),
        pytest.param(
            {"name": "a", "wheels": [{"size": 1}, {"siez": 1}]},
            "car.toml.wheels: unknown key 'siez' (did you mean 'size'?)",
            id="in a list",
        ),
        pytest.param(
            {"name": "a", "doors": {"left": {"size": 1, "color": "red"}}},
            "car.toml.doors.left: unknown key 'color' (did you mean 'colour'?)",
            id="in a table of tables",
        ),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(value: Any, problem: str) -> None:
    """A misspelled key must never be a default in force."""
    assert problems_of(value) == [problem]


def test_all_unknown_keys_are_named_at_once() -> None:
    assert len(problems_of({"nmae": "a", "whels": [], "wheels": [{"siez": 1}]})) == 3


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"name": 5}, id="a number for a text"),
        pytest.param({"name": "a", "wheels": [{"size": "5"}]}, id="a text for a number"),
        pytest.param({"name": "a", "wheels": [{"size": True}]}, id="a boolean for a number"),
        pytest.param({"name": "a", "wheels": [{"size": 1.0}]}, id="a float for a whole number"),
        pytest.param({"name": "a", "wheels": [{}]}, id="a key missing"),
        pytest.param({"name": "a", "wheels": {"size": 1}}, id="a table for a list"),
        pytest.param("name", id="no table at all"),
    ],
)
def test_nothing_is_converted(value: Any) -> None:
    """TRAPS 4: in Python True is 1."""
    (problem,) = problems_of(value)
    assert problem.startswith(("car.toml: Expected ", "car.toml: Object missing "))
