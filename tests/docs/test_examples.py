"""What README and documentation show is run, as a user would type it, against a broker of this machine."""

import contextlib
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from broker import app, settings
from broker.app import Configuration
from scopes import Verifier
from tests.broker.world import write_files
from tests.docs import ticket_service
from tests.docs.machine import Machine
from tests.docs.pages import DOCS, README, Block, all_pages, blocks, marked, page

QUICKSTART = DOCS / "quickstart.md"
SINGLE_USE = DOCS / "single-use.md"
_TYPED = ("run", "refused", "serve")


def typed(path: Path) -> list[Block]:
    """Return the blocks of a page that are typed, saved or run."""
    return [block for block in blocks(path) if block.mark in _TYPED or block.mark.startswith("file=")]


def terminals(path: Path) -> tuple[list[Block], list[Block]]:
    """Return what is typed up to the block that serves, and what is typed after it."""
    every = typed(path)
    served = [number for number, block in enumerate(every) if block.mark == "serve"]
    end = served[0] + 1 if served else 0
    return every[:end], every[end:]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_quickstart_does_what_it_says(machine: Machine) -> None:
    first, second = terminals(QUICKSTART)
    with machine.serving(first):
        shown = machine.type(second)
    verified = [line for block in marked(QUICKSTART, "text", "") for line in block.splitlines()]
    lines = [line for answer in shown for line in answer.shown.splitlines()]
    assert [line for line in lines if line.startswith(("support-bot may", "refused: "))] == verified
    refused = [answer.shown for answer in shown if answer.block.mark == "refused"]
    assert ["outside_fields" in refused[0], "outside_task_type" in refused[1], len(refused)] == [True, True, 2]
    kinds = {word for word in shown[-1].shown.split() if "." in word}
    assert kinds >= {"task.opened", "token.issued", "token.refused", "task.ended"}


def test_the_page_on_single_use_shows_what_happens(machine: Machine) -> None:
    first, second = terminals(SINGLE_USE)
    with machine.serving(first):
        *_, asked, _, used = machine.type(second)
    assert "not_enforceable" in asked.shown
    # After what the command line says, to whoever looks, of the token that it fetched.
    assert used.shown.endswith(marked(SINGLE_USE, "text", "")[0])


@pytest.mark.parametrize(
    "path", [path for path in all_pages() if path not in (QUICKSTART, SINGLE_USE) and typed(path)], ids=lambda path: path.name
)
def test_the_programs_of_a_page_run(path: Path, machine: Machine) -> None:
    first, second = terminals(path)
    with machine.serving(first) if first else contextlib.nullcontext():
        machine.type(second)


@pytest.fixture
def example(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The README's service and agent, executed, with the quickstart's broker behind them."""
    first, second = terminals(QUICKSTART)
    with machine.serving(first):
        machine.type([*second[:1], Block("sh", "run", "broker development identity crm --output crm.svid")])
        folder = machine.folder / "my-broker"
        monkeypatch.setenv("BROKER_URL", machine.url)
        monkeypatch.setenv("BROKER_IDENTITY_FILE", str(folder / "support-bot.svid"))
        names: dict[str, Any] = {
            "read_svid": lambda: (folder / "crm.svid").read_text().strip(),
            "load_ticket": lambda _: ticket_service.TICKET,
        }
        # Where the service will be is known when it is served.
        service = marked(README, "python", "service")[0].replace("https://crm.example.com/tickets", "{own_url}/tickets")
        run_here(service.replace("https://broker.example.com", machine.url), names)
        yield names
        names["verifier"].close()


async def test_the_readmes_service_and_agent_work_together(example: dict[str, Any]) -> None:
    verifier: Verifier = example["verifier"]
    verifier.wait_until_ready()
    with ticket_service.serving(example["show_ticket"]) as address:
        example["own_url"] = address
        run_here(marked(README, "python", "agent")[0].replace("https://crm.example.com", address), example)
        assert await example["read_subject"](4711) == {"subject": "Cannot sign in"}
    assert example["show_ticket"](4711, {"Authorization": "Bearer of bad news"}) == (401, {"error": "invalid_token"})


def test_the_readmes_commands_are_there() -> None:
    commands = [command for block in marked(README, "sh", "") for command in block.split()]
    assert commands == ["sh", "deploy/try", "sh", "deploy/test"]
    assert all((README.parent / name).is_file() for name in commands if "/" in name)


def test_the_example_registry_with_the_example_policies_can_be_served(tmp_path: Path) -> None:
    configuration = configured(tmp_path)
    assert {"support-bot-corrects-tickets", "read-inside-own-environment"} <= set(configuration.policies.ids)
    assert set(configuration.registry.content.agents) == {"support-bot"}


def test_the_minimal_settings_are_settings(tmp_path: Path) -> None:
    (tmp_path / "broker.toml").write_text(marked(DOCS / "operate" / "configuration.md", "toml", "")[0])
    loaded = settings.load(tmp_path / "broker.toml", environment={})
    assert [source.trust_domain for source in loaded.trust.spiffe] == ["prod.example.com"]


def test_the_json_of_the_pages_is_json() -> None:
    shown = [block.text for path in all_pages() for block in blocks(path) if block.language == "json"]
    assert shown
    assert all(json.loads(text) for text in shown)


def test_every_mark_is_one_that_something_reads() -> None:
    known = {*_TYPED, "", "service", "agent", "registry", "policies"}
    marks = {block.mark for path in all_pages() for block in blocks(path) if not block.mark.startswith("file=")}
    assert marks <= known


def test_the_starter_policies_are_described() -> None:
    described = page("operate/policies.md")
    for policy in files("broker.policy").joinpath("starter").iterdir():
        ids = [line.split('"')[1] for line in policy.read_text().splitlines() if line.startswith("@id(")]
        assert ids or policy.name.endswith(".toml")
        assert all(f"`{id}`" in described for id in [*ids, policy.name])


def configured(folder: Path) -> Configuration:
    """Read the registry and the policies of the pages, with the starter policies beside them, as `serve` would."""
    write_files(folder, registry=marked(DOCS / "operate" / "registry.md", "toml", "registry")[0])
    own = marked(DOCS / "operate" / "policies.md", "cedar", "policies")
    (folder / "policies" / "own.cedar").write_text("\n".join(own))
    return app.configure(settings.load(folder / "broker.toml", environment={}))


def run_here(program: str, names: dict[str, Any]) -> None:
    exec(compile(program, "an example of the README", "exec"), names)
