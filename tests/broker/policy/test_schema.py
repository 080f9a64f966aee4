"""The Cedar schema of a registry."""

from pathlib import Path

import cedarpy
import pytest

from broker import cli
from broker import policy as policy_room
from broker.policy import parse, schema_of
from broker.registry import files
from scopes.levels import LEVELS
from tests.broker.policy.questions import registry
from tests.broker.registry import catalogue


def is_valid(folder: Path, condition: str, *, action: str = 'Action::"crm:ticket#read"') -> bool:
    """Tell whether Cedar's validator takes a policy with this condition."""
    text = f'@id("x") permit (principal, action == {action}, resource) when {{ {condition} }};'
    return bool(cedarpy.validate_policies(text, schema_of(registry(folder))).validation_passed)


@pytest.mark.parametrize(
    "condition",
    [
        'principal.owner == "jane@example.com"',
        "principal.environment == resource.environment",
        'principal.trust_domain == "prod"',
        'resource.service == "crm" && resource.type == "ticket"',
        'resource.data_classes.contains("pii")',
        "resource.untrusted",
        'context.task.type == "all" && context.task.depth < 2',
        'context.fields.contains("email")',
        'context.data_classes.containsAny(["pii"])',
        'context.level == "read"',
        "context.reversible",
        "context.ttl <= 60",
        "context.hour >= 8 && context.weekday < 6",
    ],
)
def test_a_policy_can_read_what_it_is_told(tmp_path: Path, condition: str) -> None:
    assert is_valid(tmp_path, condition)


@pytest.mark.parametrize(
    "condition",
    [
        'principal.name == "bot"',
        'principal.roles.contains("admin")',
        "resource.id == 4711",
        "context.now > 5",
        'context.ttl == "60"',
        "context.hour",
        "principal.owner",
    ],
)
def test_a_policy_cannot_read_what_there_is_not(tmp_path: Path, condition: str) -> None:
    assert not is_valid(tmp_path, condition)


@pytest.mark.parametrize(
    ("action", "known"),
    [
        ('Action::"crm:ticket#reply"', True),
        ('Action::"lab:sample#shake"', True),
        ('Action::"crm:ticket#delete"', False),
        ('Action::"crm:tickets#read"', False),
    ],
)
def test_every_action_of_the_catalogue_has_its_name(tmp_path: Path, action: str, known: bool) -> None:
    assert is_valid(tmp_path, "true", action=action) is known


def test_an_agent_cannot_be_permitted_what_is_for_operators(tmp_path: Path) -> None:
    text = '@id("x") permit (principal is Agent, action == Action::"revoke", resource);'
    assert not cedarpy.validate_policies(text, schema_of(registry(tmp_path))).validation_passed


def test_the_schema_of_an_empty_registry_is_one(tmp_path: Path) -> None:
    text = '@id("x") permit (principal is Operator, action == Action::"revoke", resource);'
    assert cedarpy.validate_policies(text, schema_of(registry(tmp_path, "# nothing\n"))).validation_passed


@pytest.mark.parametrize("level", LEVELS)
def test_a_policy_may_speak_of_a_level_that_no_action_is_in_yet(tmp_path: Path, level: str) -> None:
    (tmp_path / "registry").mkdir()
    schema = schema_of(catalogue.load(tmp_path / "registry", ""))
    text = f'@id("x") forbid (principal, action in Action::"{level}", resource) when {{ context.task.tainted }};'
    assert cedarpy.validate_policies(text, schema).validation_passed


def test_a_level_that_there_is_not_is_refused(tmp_path: Path) -> None:
    text = '@id("x") forbid (principal is Agent, action in Action::"wriet", resource is Record);'
    assert not cedarpy.validate_policies(text, schema_of(registry(tmp_path))).validation_passed


def test_the_starter_policies_suit_the_registry_that_comes_with_them() -> None:
    """What `broker init` writes has to serve."""
    example = files.parse(
        {"all.toml": (Path(cli.__file__).parent / "starter" / "example.toml").read_text().replace("$ends", "2099-06-30")},
        where="starter",
    )
    folder = Path(policy_room.__file__).parent / "starter"
    texts = {path.name: path.read_text() for path in folder.glob("*.cedar")}
    assert parse(texts, example, where="starter").ids
