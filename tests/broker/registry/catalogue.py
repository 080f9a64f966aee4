"""A small registry to change in one place, and how to read it from files."""

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from broker.errors import ConfigurationError
from broker.registry import files
from broker.registry.registry import Registry
from scopes.keys import SigningKey

SERVICE = """
[services.crm]
audience    = "https://crm.test"
environment = "prod"
owner       = "crm-team@example.com"
workloads   = [{ spiffe = "spiffe://prod/service/crm" }]

[services.crm.resources.ticket]
data_classes = ["pii"]
fields       = { subject = [], description = [], email = ["pii"] }

[services.crm.resources.ticket.actions]
read  = { level = "read", max_ttl = 300, default_fields = ["subject"] }
reply = { level = "trigger", max_ttl = 60 }

[services.crm.resources.queue.actions]
read = { level = "read" }
"""
TASK = """
[tasks.summarise]
purpose      = "Summarise a ticket"
max_duration = 900
scopes       = ["crm:ticket/*#read[subject,description]", "crm:ticket/*#reply[subject]", "crm:queue/**#read"]
"""
AGENT = """
[agents.bot]
owner       = "jane@example.com"
purpose     = "Drafting"
environment = "prod"
workloads   = [{ spiffe = "spiffe://prod/ns/support/sa/bot" }]
tasks       = ["summarise"]
ends        = 2099-06-30
"""
OPERATOR = """
[operators.jane]
roles = ["admin"]
keys  = [{ kty = "EC", crv = "P-256", x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", \
y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }]
"""
"""The key is the example of RFC 7515, appendix A.3: nothing is signed with it."""
WHOLE = SERVICE + TASK + AGENT + OPERATOR
KEY = OPERATOR[OPERATOR.index("{ kty") : OPERATOR.index(" }]") + 2]


def key_of(name: str) -> SigningKey:
    """Return a key that is always the same for the name, so that texts with it are too."""
    secret = int.from_bytes(hashlib.sha256(name.encode()).digest()) >> 1
    return SigningKey(ECAlgorithm.to_jwk(ec.derive_private_key(secret, ec.SECP256R1()), as_dict=True))


def toml_key(key: SigningKey) -> str:
    """Write a public key as the registry has it."""
    members = ", ".join(f'{member} = "{key.public_jwk[member]}"' for member in ("kty", "crv", "x", "y"))
    return f"{{ {members} }}"


def load(folder: Path, *texts: str) -> Registry:
    """Read a registry of as many files as texts are given."""
    for number, text in enumerate(texts):
        (folder / f"{number}.toml").write_text(text, encoding="utf-8")
    return files.load(folder)


def problems(folder: Path, *texts: str) -> list[str]:
    """Return what is wrong with a registry, without the folder's name; nothing where it loads."""
    try:
        load(folder, *texts)
    except ConfigurationError as error:
        return [problem.removeprefix(f"{folder}").lstrip("/: ") for problem in error.problems]
    return []
