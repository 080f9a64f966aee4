"""`broker init`: everything a broker needs to start, in a folder. What is there stays as it is."""

import datetime
import json
import shlex
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Annotated, Any

import typer

from broker import keys, private_key_file, toml_file
from broker.cli import output, times
from broker.cli.development import FOLDER
from broker.cli.options import DEFAULT_OPERATOR, DEFAULT_OPERATOR_KEY, AsJson
from broker.identity import development
from scopes.keys import SigningKey
from scopes.scope import is_name

_EXAMPLE_LIVES = datetime.timedelta(days=365)
_STARTER = files("broker.cli").joinpath("starter")
# By path: to ask for it as a package would import what policies need.
_POLICIES = files("broker").joinpath("policy", "starter")

OPERATORS = "registry/operators.toml"
_ROLES = (
    "# Who operates this broker, each by public keys. Roles: admin (everything), operator (watches and revokes),\n"
    "# auditor (watches, and reads the audit).\n"
)
# What a verifier computes from the key itself.
_DERIVED = frozenset({"kid", "alg", "use"})

_NEXT = Template("""
Next:
  cd $folder
  broker check
  broker serve
and in another terminal, in the same folder:
  broker development identity support-bot --output support-bot.svid
  export BROKER_IDENTITY_FILE=support-bot.svid
  broker token request 'crm:ticket/4711#read[subject]'$sign_in
  broker lease list""")


def init(
    *,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder; made unless it is there.")],
    operator: Annotated[str, typer.Option(envvar="BROKER_OPERATOR", metavar="NAME", help="Your name.")] = DEFAULT_OPERATOR,
    operator_key: Annotated[
        Path, typer.Option(envvar="BROKER_OPERATOR_KEY", metavar="FILE", help="Your private key; made unless it is there.")
    ] = DEFAULT_OPERATOR_KEY,
    as_json: AsJson = False,
) -> None:
    """Make everything a broker needs to start, in a folder: settings, registry, policies and keys. Nothing is overwritten.

    What is made works at once, with an example agent of a development trust domain. Example: broker init my-broker
    """
    if not is_name(operator):
        raise typer.BadParameter("a name is a small letter and at most 62 of a-z, 0-9, _ and -", param_hint="--operator")
    made = _Made(folder)
    key = made.operator_key(operator_key.expanduser())
    _write(made, operator, key)
    registered = _is_registered(folder / OPERATORS, operator, key)
    if as_json:
        output.document({"made": made.made, "there": made.there, "operator": operator, "registered": registered})
    else:
        _report(made)
        output.say(_NEXT.substitute(folder=shlex.quote(str(folder)), sign_in=_sign_in(operator, operator_key)))
    if not registered:
        output.say(
            f"{folder / OPERATORS} does not know the key {operator_key} for {operator}. To let it operate this broker, add:"
        )
        output.say(_operators(operator, key))


def _write(made: "_Made", operator: str, key: SigningKey) -> None:
    made.text("broker.toml", _read(_STARTER.joinpath("broker.toml")))
    made.text("registry/example.toml", _example())
    made.text(OPERATORS, _ROLES + _operators(operator, key))
    for policy in sorted(_POLICIES.iterdir(), key=lambda policy: policy.name):
        made.text(f"policies/{policy.name}", _read(policy))
    made.keys()


class _Made:
    """What was made and what was there, by path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.made: list[str] = []
        self.there: list[str] = []

    def text(self, name: str, text: str) -> None:
        path = self._folder / name
        if self._is_new(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def keys(self) -> None:
        folder = self._folder / "keys"
        for path in (*keys.files(folder), folder / FOLDER / development.BUNDLE):
            self._is_new(path)
        keys.create(folder)
        development.create(folder / FOLDER)
        self.text("keys/.gitignore", "# Private keys, and what this broker remembers.\n*\n")

    def operator_key(self, path: Path) -> SigningKey:
        self._is_new(path)
        return private_key_file.create(path)

    def _is_new(self, path: Path) -> bool:
        is_new = not path.exists()
        (self.made if is_new else self.there).append(str(path))
        return is_new


def _example() -> str:
    today = datetime.datetime.fromtimestamp(times.now(), tz=datetime.UTC).date()
    return Template(_read(_STARTER.joinpath("example.toml"))).substitute(ends=(today + _EXAMPLE_LIVES).isoformat())


def _operators(name: str, key: SigningKey) -> str:
    members = ", ".join(f"{member} = {json.dumps(value)}" for member, value in _public(key).items())
    return f'[operators.{name}]\nroles = ["admin"]\nkeys  = [{{ {members} }}]\n'


def _public(key: SigningKey) -> dict[str, Any]:
    return {member: value for member, value in key.public_jwk.items() if member not in _DERIVED}


def _is_registered(file: Path, operator: str, key: SigningKey) -> bool:
    record = toml_file.read(file).get("operators", {}).get(operator, {})
    return any(_public(key).items() <= jwk.items() for jwk in record.get("keys", ()))


def _report(made: "_Made") -> None:
    for path in made.made:
        output.text(f"made   {path}")
    for path in made.there:
        output.text(f"there  {path}")


def _sign_in(operator: str, key: Path) -> str:
    """Write what an operator with other than the usual name or key file has to say to every command."""
    said = {"BROKER_OPERATOR": operator} if operator != DEFAULT_OPERATOR else {}
    said |= {"BROKER_OPERATOR_KEY": str(key.resolve())} if key != DEFAULT_OPERATOR_KEY else {}
    return "".join(f"\n  export {name}={shlex.quote(value)}" for name, value in said.items())


def _read(file: Traversable) -> str:
    return file.read_text(encoding="utf-8")
