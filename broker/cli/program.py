"""The program: every command by name, imported only when it is used, so that each starts as fast as it can."""

import importlib
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup


class Place(NamedTuple):
    """Where a command is (`module:name`, a function or a group of commands), and what it does in one sentence."""

    where: str
    help: str


COMMANDS = {
    "serve": Place("broker.cli.serve:serve", "Run the broker."),
    "init": Place("broker.cli.init:init", "Make everything a broker needs to start, in a folder."),
    "check": Place("broker.cli.check:check", "Check the whole configuration, and say everything that is wrong."),
    "doctor": Place("broker.cli.doctor:doctor", "Look at the live store and the keys, and say what to do next."),
    "demo": Place("broker.cli.demo.command:demo", "Show the whole loop on this machine."),
    "task": Place("broker.cli.task:app", "Declare, look at and end tasks."),
    "token": Place("broker.cli.token:app", "Ask for tokens, and look into them."),
    "lease": Place("broker.cli.lease:app", "Look at what is out, and take one back."),
    "revoke": Place("broker.cli.revoke:revoke", "Take back everything of an agent, task, resource, owner, user or key."),
    "reduce": Place("broker.cli.reduction:reduce", "Reduce the access of an agent, an instance, a service or everything."),
    "restore": Place("broker.cli.reduction:restore", "Lift a reduction."),
    "reduction": Place("broker.cli.reduction:app", "Look at what is reduced."),
    "activate": Place("broker.cli.activate:activate", "Put registry and policies into force, for all workers at once."),
    "stuck": Place("broker.cli.stuck:stuck", "List what was to end and is not known to have ended."),
    "agent": Place("broker.cli.agent:app", "Look at the registered agents."),
    "audit": Place("broker.cli.audit:app", "Read what happened."),
    "key": Place("broker.cli.key:app", "Look at the broker's own keys, and rotate them."),
    "feed": Place("broker.cli.feed:app", "Watch what is taken away, and which verifiers have heard of it."),
    "policy": Place("broker.cli.policy:app", "Test, explain and simulate policies."),
    "report": Place("broker.cli.report:app", "Say who can reach what."),
    "development": Place("broker.cli.development:app", "Make identities of the development trust domain."),
}


class Program(TyperGroup):
    """Knows every command by name and sentence, which is all that help and suggestions need; imports the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is called, imported."""
        name, known, rest = super().resolve_command(ctx, args)
        return name, known and command(str(name)), rest


app = typer.Typer(cls=Program, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def broker() -> None:
    """Agent Broker: credentials for AI agents, for one resource, one action and one short life, revoked everywhere at once.

    Start with: broker init my-broker
    """


def _is_replaced() -> None:
    """Stand for a command until it is called."""


for _name, _place in COMMANDS.items():
    app.command(_name, help=_place.help)(_is_replaced)


def command(name: str) -> Any:
    """Import a command."""
    place = COMMANDS[name]
    found = _imported(place.where)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False)
        alone.command(name)(found)
        return typer.main.get_command(alone)
    group = typer.main.get_command(found)
    group.name, group.help = name, place.help
    return group


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit code."""
    try:
        typer.main.get_command(app)(args=arguments, prog_name="broker")
    except Exception as error:  # what a command lets through is its answer, or a fault of ours that nobody should have to read
        sys.exit(_imported("broker.cli.refusals:report")(error))


def _imported(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)
