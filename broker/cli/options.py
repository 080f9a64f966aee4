"""The options that commands share, each written once."""

from pathlib import Path
from typing import Annotated

import typer

_PANEL = "Broker and sign-in"

DEFAULT_BROKER = "http://127.0.0.1:8750"
DEFAULT_OPERATOR = "admin"
DEFAULT_OPERATOR_KEY = Path("~/.config/agent-broker/operator.jwk")
DEFAULT_CONFIG = Path("broker.toml")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]

Broker = Annotated[str, typer.Option(envvar="BROKER_URL", metavar="URL", help="Where the broker is.", rich_help_panel=_PANEL)]

OperatorName = Annotated[
    str,
    typer.Option("--operator", envvar="BROKER_OPERATOR", metavar="NAME", help="Act as this operator.", rich_help_panel=_PANEL),
]

OperatorKey = Annotated[
    Path,
    typer.Option(envvar="BROKER_OPERATOR_KEY", metavar="FILE", help="The operator's private key.", rich_help_panel=_PANEL),
]

Identity = Annotated[
    Path | None,
    typer.Option(
        envvar="BROKER_IDENTITY_FILE",
        metavar="FILE",
        help="Act as the agent whose identity (a JWT-SVID) this file holds.",
        rich_help_panel=_PANEL,
    ),
]

Certificate = Annotated[
    Path | None,
    typer.Option(
        envvar="BROKER_CERTIFICATE_FILE",
        metavar="FILE",
        help="Act as the agent whose certificate (an X.509-SVID) this file holds; --broker is where it is taken.",
        rich_help_panel=_PANEL,
    ),
]

CertificateKey = Annotated[
    Path | None,
    typer.Option(envvar="BROKER_KEY_FILE", metavar="FILE", help="The certificate's private key.", rich_help_panel=_PANEL),
]

_FOR_WHOM = "For whom"

UserTokenFile = Annotated[
    Path | None,
    typer.Option(
        "--user-token",
        metavar="FILE",
        help="Act for the user whose token, of your identity provider, this file holds.",
        rich_help_panel=_FOR_WHOM,
    ),
]

ParentTokenFile = Annotated[
    Path | None,
    typer.Option(
        "--parent-token",
        metavar="FILE",
        help="Act below the task of the agent whose token this file holds; it gives no more than that token.",
        rich_help_panel=_FOR_WHOM,
    ),
]

Config = Annotated[Path, typer.Option("--config", envvar="BROKER_CONFIG", metavar="FILE", help="The broker's settings.")]

Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; this is kept in the audit record.")]
"""Required wherever it has no default: whoever takes something away says why."""
