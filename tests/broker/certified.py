"""Workloads with X.509-SVIDs, of an authority that the development trust domain has beside its keys."""

import base64
import datetime
import json
import os
from pathlib import Path
from typing import Any

import jwt

from broker.identity import development
from tests.broker.world import BOT
from tests.scopes.certificates import Made, authority, leaf

START = datetime.datetime.now(datetime.UTC).replace(microsecond=0) - datetime.timedelta(minutes=5)


def authority_of(name: str = "development.test", issuer: Made | None = None) -> Made:
    return authority(name, issuer, start=START)


def svid_of(issuer: Made, workload: str = BOT, **changes: Any) -> Made:
    return leaf(issuer, workload, **{"start": START, **changes})


def trust(folder: Path, *authorities: Made) -> None:
    """Have the development trust domain of a broker's folder hold these X.509 authorities and no others."""
    path = development.create(folder / "keys" / "development")
    document = json.loads(path.read_text())
    kept = [key for key in document["keys"] if key["use"] == "jwt-svid"]
    keys = [*kept, *(x509_key(authority) for authority in authorities)]
    path.write_text(json.dumps({**document, "keys": keys, "spiffe_sequence": document["spiffe_sequence"] + 1}))
    # Newer than the one before, however coarse the clock of files is.
    os.utime(path, (document["spiffe_sequence"], document["spiffe_sequence"]))


def x509_key(authority: Made) -> dict[str, Any]:
    """Write an authority as a bundle does (SPIFFE X509-SVID §6.1)."""
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(authority.certificate.public_key(), as_dict=True)
    return {**jwk, "use": "x509-svid", "x5c": [base64.b64encode(authority.der).decode()]}
