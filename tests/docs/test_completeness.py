"""What there is stands in the documentation, and what stands there is there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar.routes import HTTPRoute

from broker import metrics, redecision
from broker.audit import Record
from broker.cli import program
from broker.client import ClientError, Task
from broker.errors import BrokerError
from broker.identity import Presented
from broker.leases import NewUse, Settled
from broker.policy import schema
from broker.registry import records
from broker.selector import Selector
from broker.settings import PREFIX, KeyStore, ProxyTrust, Settings, SpiffeTrust
from broker.store import key
from broker.tasks import Behalf, Declaration
from broker.trusted_issuers import OidcReview, OidcTrust, UserTrust
from scopes import Grant, Verifier
from scopes.errors import ScopesError, VerificationError
from scopes.levels import LEVELS
from tests.broker.acknowledging import acknowledge
from tests.broker.leases.written import written
from tests.broker.world import BOT, CRM, OTHER, World
from tests.docs.pages import DOCS, README, ROOT, all_pages, anchors, codes, links, page, rows, section

BROKER = ROOT / "broker"

REGISTRY_SECTIONS = {
    "`[data_classes.NAME]`": records.DataClass,
    "`[services.NAME]`": records.Service,
    "`[services.NAME.resources.TYPE]`": records.ResourceType,
    "`[services.NAME.resources.TYPE.actions]`": records.Action,
    "`[tasks.NAME]`": records.TaskType,
    "`[agents.NAME]`": records.AgentRecord,
    "`[operators.NAME]`": records.OperatorRecord,
}


@pytest.mark.parametrize("path", all_pages(), ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in links(path):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_can_be_found_from_the_index() -> None:
    index = DOCS / "index.md"
    found = {(DOCS / link.partition("#")[0]).resolve() for link in links(index)}
    assert set(all_pages()) - {index} <= found


def test_every_setting_is_described_with_its_variable_and_default() -> None:
    described = {cells[0].strip("`"): cells for cells in rows(section(page("operate/configuration.md"), "Settings"))}
    names = set(Settings.__struct_fields__) - {"folder"}
    assert names == set(described) - {"setting"}
    for name in names - {"trust", "key_store"}:
        assert f"`{PREFIX}{name.upper()}`" in described[name][1]
    assert {name: described[name][2].strip("`") for name in defaults(Settings)} == defaults(Settings)


TRUSTED = [
    ("`[[trust.spiffe]]`", SpiffeTrust),
    ("`[[trust.proxy]]`", ProxyTrust),
    ("`[[trust.oidc]]`", OidcTrust),
    ("`[trust.oidc.token_review]`", OidcReview),
    ("`[[trust.users]]`", UserTrust),
]


@pytest.mark.parametrize(("heading", "struct"), TRUSTED)
def test_every_key_of_whom_is_trusted_is_described(heading: str, struct: Any) -> None:
    described = {cells[0].strip("`") for cells in rows(section(page("operate/configuration.md"), heading))} - {"key"}
    assert described == set(struct.__struct_fields__)


def test_every_key_of_a_key_store_is_described() -> None:
    table = section(page("operate/configuration.md"), "`[key_store]`")
    assert {cells[0].strip("`") for cells in rows(table)} - {"key"} == set(KeyStore.__struct_fields__)


def test_every_key_of_a_binding_to_users_is_described() -> None:
    described = page("operate/registry.md")
    assert all(f"{name} = " in described for name in records.UserBinding.__struct_fields__)


def test_every_key_of_a_selector_is_described() -> None:
    described = {cells[0].strip("`") for cells in rows(section(page("operate/registry.md"), "Workload selectors"))}
    assert set(records.WorkloadSelector.__struct_fields__) <= described


@pytest.mark.parametrize("heading", REGISTRY_SECTIONS)
def test_every_key_of_the_registry_is_described(heading: str) -> None:
    table = section(page("operate/registry.md"), heading)
    assert codes(table) == set(keys_of(REGISTRY_SECTIONS[heading]))


def test_the_default_staleness_of_every_level_is_described() -> None:
    described = {cells[0].strip("`"): cells[-1] for cells in rows(section(page("scopes.md"), "Levels"))}
    assert {level: described[level] for level in LEVELS} == {level: f"{records.STALENESS[level]} s" for level in LEVELS}


def test_every_error_code_is_described() -> None:
    errors = page("operate/errors.md")
    assert {error.code for error in below(BrokerError)} <= codes(section(errors, "From the broker"))
    described = {(cells[0].strip("`"), cells[1].strip("`")) for cells in rows(section(errors, "From the verifier"))}
    known = {(error.code, error.__name__) for error in below(ScopesError) if error is not VerificationError}
    assert known <= described
    assert {error.code for error in below(ClientError)} <= codes(section(errors, "From the client library"))


def test_every_reason_is_described_and_no_other() -> None:
    assert codes(section(page("operate/errors.md"), "Reasons")) == set(reasons())


def test_every_status_of_the_verifier_is_described() -> None:
    described = {cells[0].strip("`"): cells[2] for cells in rows(section(page("operate/errors.md"), "From the verifier"))}
    for error in below(ScopesError):
        if hasattr(error, "status"):
            assert described[error.code] == str(error.status)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_every_route_is_described_and_no_other(world: World) -> None:
    served = set()
    for route in world.broker.application().routes:
        assert isinstance(route, HTTPRoute)
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)
        served |= {f"{method} {path}" for method in route.methods - {"OPTIONS"}}
    assert codes(section(page("api.md"), "Endpoints")) & served == served
    assert {code for code in codes(section(page("api.md"), "Endpoints")) if code.startswith(("GET /", "POST /"))} == served


def test_every_selector_of_a_revocation_is_described() -> None:
    assert codes(section(page("api.md"), "POST /v1/revocations")) == set(Selector.__struct_fields__)


def test_every_command_is_described_and_no_other() -> None:
    described = codes(page("operate/command-line.md"))
    commands = {command for command in described if command.startswith("broker ")}
    assert {" ".join(word for word in command.split() if not word.isupper()) for command in commands} == set(all_commands())


def test_the_schema_stands_there_as_policies_see_it() -> None:
    described = page("operate/policies.md")
    assert schema._ENTITIES in described
    assert schema._OPERATIONS in described


@pytest.mark.parametrize("library", [Verifier, Grant, Task])
def test_every_member_of_the_libraries_is_described(library: type[Any]) -> None:
    described = {code.partition("(")[0] for code in codes(page("library.md"))}
    members = {*vars(library), *getattr(library, "__struct_fields__", ())}
    assert {member for member in members if not member.startswith("_")} <= described


async def test_every_redis_key_is_described_and_no_other(world: World) -> None:
    await use_everything(world)
    epoch = world.broker.follower.standpoint().picture.epoch
    kept = {pattern_of(key.decode(), epoch) for key in world.backend.client.keys("ab:*")}
    described = codes(section(page("architecture.md"), "Redis"))
    assert {code for code in described if code.startswith("ab:")} == kept


def test_every_metric_is_described_and_no_other() -> None:
    described = {code for code in codes(page("operate/metrics.md")) if re.fullmatch(r"broker_[a-z_]+", code)}
    exposed = {name.group(1) for name in re.finditer(r"^# TYPE (broker_\w+)", metrics.exposition().decode(), re.MULTILINE)}
    assert described == {name for name in exposed if not name.endswith("_created")}


def test_every_room_is_described() -> None:
    described = codes(section(page("architecture.md"), "The rooms"))
    for package in ("broker", "scopes"):
        found = [path for path in (ROOT / package).iterdir() if path.is_dir() or path.suffix == ".py"]
        rooms = {f"{path.name}/" if path.is_dir() else path.name for path in found if not path.name.startswith("__")}
        assert rooms <= described


def test_every_dependency_has_its_sentence() -> None:
    described = codes(section(page("architecture.md"), "Dependencies"))
    declared = re.search(r"^dependencies = .*?^cli = [^\n]*", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    assert declared is not None
    names = set(re.findall(r'"([a-z0-9-]+)(?:\[\w+\])?[>=]', declared[0]))
    assert names <= described


def test_every_test_that_is_named_exists() -> None:
    named = {name for path in all_pages() for name in re.findall(r"`(test_\w+)`", path.read_text())}
    defined = {name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())}
    assert named
    assert named <= defined


def test_the_licence_is_where_the_readme_says() -> None:
    assert "docs/LICENSE" in links(README)


async def use_everything(world: World) -> None:
    """Leave a key of every kind in the store."""
    parent = await world.declare()
    await world.declare(parent=parent.id)
    await world.issue(task=parent.id)
    await world.issue(workload=OTHER, declaration=Declaration(type="summarise-ticket"))
    await world.issue(bound=True)
    await world.broker.tasks.join_default(world.agent(), BOT, world.registry, behalf=Behalf("corp:jane"))
    revoked = await world.issue(task=parent.id)
    await world.revoke(lease=revoked.lease_id)
    await world.revoke(key="stolen")
    world.follow()
    await world.broker.callers.identify(Presented(world.operator_assertion()))
    await acknowledge(world)
    await world.broker.settling.settle()
    await world.broker.redecision.decide_again()
    ended = await world.declare()
    await world.broker.revocation.end_task(ended.id, "completed", await world.broker.callers.identify(Presented(world.svid())))
    await world.broker.leases.consume(NewUse((await world.issue()).lease_id, "use", 1, 0, b"{}"))
    await world.broker.leases.keep(0, "worker")
    await world.broker.log.is_first_to_reject("<change>")
    await world.broker.leases.raise_floors(world.broker.streams.picture.epoch, 0)
    await world.broker.leases.note_settled(0, Settled(world.broker.streams.picture.epoch, 1))
    names = ("live_leases_of_task", "leases_per_minute_of_task", "live_leases_of_task_type", "leases_per_minute_of_task_type")
    await written(world, parent, limits=dict.fromkeys(names, 5))
    await world.broker.refusals.record(Record(kind="token.refused", agent="support-bot"))
    world.backend.client.set(key(0, "deciding"), "worker")


def pattern_of(key: str, epoch: str) -> str:
    spelled = re.sub(
        r"\{s\d\d\}",
        "{sNN}",
        key.replace(BOT, "<workload>").replace(CRM, "<audience>").replace("corp:jane", "<behalf>").replace(epoch, "<epoch>"),
    )
    spelled = re.sub(r"lse_\w{26}", "<lease>", re.sub(r"tsk_\w{26}", "<task>", spelled))
    return re.sub(r"(support|other)-bot", "<agent>", spelled.replace(":summarise-ticket", ":<type>"))


def below(error: type[Any]) -> Iterator[type[Any]]:
    """Yield an error class and every class below it."""
    yield error
    for narrower in error.__subclasses__():
        yield from below(narrower)


def defaults(struct: Any) -> dict[str, str]:
    """Return the defaults of a struct that are a text or a number, as text."""
    pairs = zip(struct.__struct_fields__[-len(struct.__struct_defaults__) :], struct.__struct_defaults__, strict=True)
    return {name: str(value) for name, value in pairs if isinstance(value, str | int) and name != "folder"}


def keys_of(struct: Any) -> Iterator[str]:
    """Name the keys of a record, those of its limits with a dot."""
    for field in msgspec.structs.fields(struct):
        limits = field.type.__struct_fields__ if field.type is records.Limits else ()
        yield from (f"{field.name}.{name}" for name in limits) if limits else (field.name,)


def reasons() -> Iterator[str]:
    """Name the reasons that refusals give, as the code spells them."""
    for path in BROKER.rglob("*.py"):
        text = re.sub(r"Record\([^()]*\)", "", path.read_text())
        if "cli" not in path.parts:
            yield from re.findall(r'(?:reason=|Decision\(|Answer\()(?:[a-z_" ]+ if .+? else )?"([a-z_]+)"', text)
    yield from {"forbidden", "not_permitted"}
    yield from re.findall(r'(?:_Answer\(|return )"([a-z_]+)"', (BROKER / "policy" / "policy.py").read_text())
    yield from re.findall(r'"(leases_\w+|live_leases\w*)"', (BROKER / "leases" / "volume.py").read_text())
    yield redecision.NO_LONGER_GIVEN


def all_commands() -> Iterator[str]:
    """Name every command with its noun."""
    for name in program.COMMANDS:
        command = program.command(name)
        verbs = getattr(command, "commands", None)
        yield from (f"broker {name} {verb}" for verb in verbs) if verbs else (f"broker {name}",)
