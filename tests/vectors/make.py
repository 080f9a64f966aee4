"""Writes `tokens.json` anew, with new keys: `python -m tests.vectors.make`.

Not part of any test run. The file is what counts; it is read by tests and usable from any language.
"""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from scopes import jose
from scopes.keys import SigningKey
from scopes.revocations import MESSAGE_TYPE, SNAPSHOT_TYPE
from tests.scopes.clocks import MovableClock
from tests.scopes.feed_log import FeedLog
from tests.scopes.tokens import (
    AUDIENCE,
    EPOCH,
    ISSUER,
    RESOURCE,
    b64,
    compact,
    detail,
    header_of,
    key_set,
    members,
    new_key,
    of_scope,
    private_jwk,
    without,
)

ABOUT = (
    "Golden and hostile access tokens for the service `audience` of `issuer`, at the moment `now` (milliseconds). `jwks` and "
    "`feed_keys` are the issuer's keys; `snapshot` is what its feed said at that very moment. Each case is a token, what the "
    "request wants to do, why it stands here, and the `code` of the refusal, or null and the grant. Written by make.py."
)
BOT = "spiffe://prod.example.com/ns/support/sa/bot"
KNOWN = {"agent": "support-bot", "workload": BOT, "user": None, "task": "tsk_01", "lease": "lse_01"}
FIELDS = ["description", "subject"]
REQUEST = {"action": "read", "resource": RESOURCE, "fields": []}


class Makers:
    """The keys, the feed and the time of the issuer, and the cases written so far."""

    def __init__(self) -> None:
        self.clock = MovableClock()
        self.now = self.clock.seconds
        self.es256, self.eddsa, self.feed = new_key("ES256"), new_key("EdDSA"), new_key("ES256")
        self.rsa_jwk = private_jwk("RS256")
        self.rs256 = SigningKey(self.rsa_jwk)
        self.lost = new_key("ES256")
        self.log = FeedLog(self.clock)
        for kind, value in EVENTS:
            self.log.commit(kind, value.replace("<lost key>", self.lost.kid), **NARROWED.get(value, {}))
        self.cases: list[dict[str, Any]] = []

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Good claims, decided after everything that is in the feed."""
        lease = {"position": self.log.head.seq} | changes.pop("lease", {})
        return members(now=self.now, lease=lease, **changes)

    def token(self, *, key: Any = None, header: dict[str, object] | None = None, **changes: Any) -> str:
        signer = key or self.es256
        return compact(header_of(signer, **(header or {})), self.claims(**changes), signer)

    def grants(self, name: str, why: str, token: str, request: dict[str, object] | None = None, **grant: object) -> None:
        self.cases.append(
            {"name": name, "why": why, **REQUEST, **(request or {}), "token": token, "code": None, "grant": grant}
        )

    def refuses(self, code: str, name: str, why: str, token: str, **request: object) -> None:
        self.cases.append({"name": name, "why": why, **REQUEST, **request, "token": token, "code": code})

    def invalid(self, name: str, why: str, token: str) -> None:
        self.refuses("invalid_token", name, why, token)


# Their numbers go up from 1001. A token decided at 1002 is ended only by those that name it.
EVENTS = [
    ("quarantine", "a kind of a later version"),
    ("all", ""),
    ("lease", "lse_ended"),
    ("task", "tsk_ended"),
    ("taint", "tsk_tainted"),
    ("taint", "tsk_read pii"),
    ("agent", "ended-bot"),
    ("agent", "reduced-bot"),
    ("agent", "unapproved-bot"),
    ("instance", "spiffe://prod.example.com/ended"),
    ("user", "corp:ended"),
    ("resource", "crm:ticket/47"),
    ("class", "class-ended"),
    ("key", "<lost key>"),
]
NARROWED: dict[str, dict[str, object]] = {"reduced-bot": {"above": "read"}, "unapproved-bot": {"unapproved": True}}


def golden(make: Makers) -> None:
    known, fields = KNOWN, FIELDS
    make.grants("ES256", "The default.", make.token(), **known, fields=fields)
    make.grants("EdDSA", "Ed25519, selectable.", make.token(key=make.eddsa), **known, fields=fields)
    make.grants("RS256", "RFC 9068 wants it supported.", make.token(key=make.rs256), **known, fields=fields)
    make.grants("the long media type", "RFC 9068 §4.", make.token(header={"typ": "application/at+jwt"}), **known, fields=fields)
    make.grants("a type in capitals", "Media types have no case.", make.token(header={"typ": "AT+JWT"}), **known, fields=fields)
    make.grants(
        "a scope without fields", "Its type has none.", make.token(**of_scope(f"{RESOURCE}#read")), **known, fields=None
    )
    make.grants("one of its fields", "", make.token(), {"fields": ["subject"]}, **known, fields=fields)
    user = make.token(sub="corp:jane", act={"sub": BOT, "act": {"sub": "spiffe://x.test/other"}}, lease={"user": True})
    make.grants(
        "for a user", "Only the outermost actor counts (RFC 8693 §4.1).", user, **(known | {"user": "corp:jane"}), fields=fields
    )
    deep = make.token(lease={"path": ["tsk_01", "tsk_02", "tsk_03", "tsk_04"]})
    make.grants("four tasks deep", "", deep, **(known | {"task": "tsk_04"}), fields=fields)
    make.grants("an hour long", "The longest there is.", make.token(exp=make.now + 3600), **known, fields=fields)
    make.grants(
        "five seconds ahead",
        "The leeway of iat and nbf.",
        make.token(iat=make.now + 5, nbf=make.now + 5),
        **known,
        fields=fields,
    )
    make.grants("its last second", "No leeway is needed.", make.token(exp=make.now + 1), **known, fields=fields)
    near = make.token(header={"jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/"})
    make.grants(
        "a key is pointed to", "What the header points to is not looked at (RFC 8725 §3.10).", near, **known, fields=fields
    )


def spared(make: Makers) -> None:
    known, fields = KNOWN, FIELDS
    approved = make.token(client_id="unapproved-bot", lease={"position": 1002, "approval": "apr_1"})
    make.grants(
        "approved", "An event for the unapproved spares it.", approved, **(known | {"agent": "unapproved-bot"}), fields=fields
    )
    reduced = make.token(client_id="reduced-bot", lease={"position": 1002})
    make.grants("reduced to reading", "And reads.", reduced, **(known | {"agent": "reduced-bot"}), fields=fields)
    for name, why, lease in [
        ("does not end with taint", "It would have been given all the same.", {"path": ["tsk_tainted"]}),
        ("says that it ends with taint", "Another tree is tainted.", {"ends_on_taint": True}),
        ("ends with no class of data", "It would have been given all the same.", {"path": ["tsk_read"]}),
        (
            "ends with another class of data",
            "Its tree has not read that.",
            {"path": ["tsk_read"], "ends_on_labels": ["health"]},
        ),
        ("ends with taint alone", "Its tree has read data and is not tainted.", {"path": ["tsk_read"], "ends_on_taint": True}),
        ("a tree that read another class", "", {"path": ["tsk_tainted"], "ends_on_labels": ["pii"]}),
        ("says what it ends with", "Nothing of it has happened.", {"ends_on_taint": True, "ends_on_labels": ["health", "pii"]}),
    ]:
        task = lease.get("path", ["tsk_01"])[0]
        token = make.token(txn=task, lease={"position": 1002, **lease})
        make.grants(name, why, token, **(known | {"task": task}), fields=fields)
    handed = make.token(
        lease={"position": 1002, "ends_with": ["lease lse_02", "class class-02", "instance spiffe://x.test/bot"]}
    )
    make.grants("ends with what it was delegated from", "None of that has ended.", handed, **known, fields=fields)
    read = make.token(txn="tsk_read", lease={"path": ["tsk_read"], "ends_on_labels": ["pii"]})
    make.grants(
        "decided after its tree read the data",
        "An event ends what was decided before it.",
        read,
        **(known | {"task": "tsk_read"}),
        fields=fields,
    )
    later = make.token(client_id="ended-bot")
    make.grants(
        "decided after the event",
        "An event ends what was decided before it.",
        later,
        **(known | {"agent": "ended-bot"}),
        fields=fields,
    )


def forged(make: Makers) -> None:
    good = make.token()
    head, payload, signature = good.split(".")
    public = make.es256.public_jwk
    unsigned = b64(json.dumps({"alg": "none", "typ": "at+jwt"}).encode())
    make.invalid("alg none without signature", "TRAPS 3, RFC 8725 §3.2.", f"{unsigned}.{payload}.")
    for alg in ("none", "None", "NONE", "nOnE"):
        make.invalid(f"alg {alg}", "TRAPS 3: in any spelling.", make.token(header={"alg": alg}))
    for name, secret in [
        ("JWK", json.dumps(public).encode()),
        ("x coordinate", str(public["x"]).encode()),
        ("empty secret", b""),
    ]:
        signing_input = f"{b64(json.dumps(header_of(make.es256, alg='HS256')).encode())}.{payload}"
        mac = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest()
        make.invalid(f"HS256 with the public key ({name})", "TRAPS 3, RFC 8725 §2.1.", f"{signing_input}.{b64(mac)}")
    p384 = ECAlgorithm.from_jwk(private_jwk("ES384"))
    for alg in ("ES384", "ES256"):
        signing_input = f"{b64(json.dumps(header_of(make.es256, alg=alg)).encode())}.{payload}"
        other_curve = ECAlgorithm(ECAlgorithm.SHA384).sign(signing_input.encode(), p384)  # type: ignore[arg-type]
        make.invalid(f"a key of another curve as {alg}", "TRAPS 3.", f"{signing_input}.{b64(other_curve)}")
    pss = f"{b64(json.dumps(header_of(make.rs256, alg='PS256')).encode())}.{payload}"
    private = RSAAlgorithm.from_jwk(make.rsa_jwk)
    mac = private.sign(pss.encode(), padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())  # type: ignore[union-attr,call-arg,arg-type]
    make.invalid("PS256 with an RS256 key", "One key, one algorithm (RFC 8725 §3.1).", f"{pss}.{b64(mac)}")
    make.invalid("RS512 with an RS256 key", "One key, one algorithm.", make.token(key=make.rs256, header={"alg": "RS512"}))
    make.invalid("an EC key named for EdDSA", "", make.token(header={"alg": "EdDSA"}))
    make.invalid("a signature of zeros", "CVE-2022-21449.", f"{head}.{payload}.{b64(bytes(64))}")
    make.invalid("a signature cut short", "", f"{head}.{payload}.{b64(b'x' * 63)}")
    make.invalid("another token's signature", "", f"{head}.{payload}.{make.token(jti='lse_02').split('.')[2]}")
    make.invalid("a changed payload", "", f"{head}.{b64(json.dumps(make.claims(sub='corp:admin')).encode())}.{signature}")
    stranger = new_key()
    make.invalid("a stranger's key", "", make.token(key=stranger))
    make.invalid("a stranger under a known key id", "", make.token(key=stranger, header={"kid": make.es256.kid}))
    make.invalid(
        "a key brought in the header", "RFC 8725 §3.10.", make.token(key=stranger, header={"jwk": stranger.public_jwk})
    )
    make.invalid("the feed's key", "Each key signs its own (DESIGN.md 3.10).", make.token(key=make.feed))
    for kid in ("", "../jwks.json", f"{make.es256.kid}\u0000"):
        make.invalid(f"key id {kid!a}", "A key id is a dictionary key and nothing else.", make.token(header={"kid": kid}))
    make.invalid("no key id", "", compact(without(header_of(make.es256), "kid"), make.claims(), make.es256))


def malformed(make: Makers) -> None:
    good = make.token()
    head, payload, signature = good.split(".")
    texts = {
        "nothing": "",
        "two segments": f"{head}.{payload}",
        "four segments": f"{good}.{signature}",
        "a detached payload": f"{head}..{signature}",
        "padding": f"{good}==",
        "padded payload": f"{head}.{payload}=.{signature}",
        "a line end": f"{good}\n",
        "a space": f" {good}",
        "the other alphabet": f"{head}.{payload}.{signature.replace('-', '+').replace('_', '/')}+",
        "the JSON form": json.dumps({"protected": head, "payload": payload, "signature": signature}),
        "no signature": f"{head}.{payload}.",
        "more than 8 KiB": make.token(jti="x" * 8192),
    }
    for name, text in texts.items():
        make.invalid(name, "Only the compact form, in its one spelling (TRAPS 2, RFC 7515 §7.1).", text)
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = last[last.index(signature[-1]) ^ 1]
    make.invalid("spare bits in the signature", "RFC 4648 §3.5.", f"{head}.{payload}.{signature[:-1]}{other}")
    for name, value in [("an extension", ["exp"]), ("nothing", []), ("null", None), ("b64", ["b64"])]:
        make.invalid(f"crit of {name}", "RFC 7515 §4.1.11.", make.token(header={"crit": value}))


def repeated(make: Makers) -> None:
    text = json.dumps(make.claims())
    twice = {
        "a claim twice": text[:-1] + ',"sub":"corp:admin"}',
        "a claim twice alike": text.replace('"jti"', '"jti": "lse_01", "jti"'),
        "a default twice": text.replace('"epoch"', '"single_use": true, "single_use": false, "epoch"'),
        "a claim twice by escape": text[:-1] + ',"\\u0061ud":"' + AUDIENCE + '"}',
    }
    for name, payload_text in twice.items():
        make.invalid(
            name,
            "Parsers disagree about which counts (RFC 8725 §2.4).",
            compact(header_of(make.es256), payload_text.encode(), make.es256),
        )
    double = json.dumps(header_of(make.es256))[:-1] + ',"alg":"ES256"}'
    make.invalid("a header member twice", "RFC 7515 §4.", compact(double.encode(), make.claims(), make.es256))
    for name, data in [
        ("not JSON", b"claims"),
        ("a list", b"[]"),
        ("null", b"null"),
        ("not Unicode", text.encode().replace(b"lse_01", b"\xff")),
    ]:
        make.invalid(f"a payload that is {name}", "", compact(header_of(make.es256), data, make.es256))


def confused(make: Makers) -> None:
    """Things that are signed and are no access tokens (TRAPS 1, RFC 8725 §3.11)."""
    claims = make.claims()
    for typ in (
        "JWT",
        "jwt",
        "",
        "at+jwt;x",
        "dpop+jwt",
        "statuslist+jwt",
        "secevent+jwt",
        "client-authentication+jwt",
        MESSAGE_TYPE,
        SNAPSHOT_TYPE,
    ):
        make.invalid(f"good claims as {typ!r}", "TRAPS 1.", make.token(header={"typ": typ}))
    make.invalid("no type", "RFC 8725 §3.11.", compact(without(header_of(make.es256), "typ"), claims, make.es256))
    heartbeat, snapshot = msgspec.to_builtins(make.log.heartbeat()), msgspec.to_builtins(make.log.snapshot())
    for name, said, typ in [("a feed message", heartbeat, MESSAGE_TYPE), ("a snapshot", snapshot, SNAPSHOT_TYPE)]:
        make.invalid(f"{name}", "TRAPS 1.", compact(header_of(make.feed, typ=typ), said, make.feed))
        make.invalid(f"{name} under the token's type and key", "TRAPS 1.", compact(header_of(make.es256), said, make.es256))
    svid = {"sub": "spiffe://prod.example.com/bot", "aud": [AUDIENCE], "exp": make.now + 300, "iat": make.now}
    make.invalid("a JWT-SVID", "TRAPS 1.", compact(header_of(make.es256, typ="JWT"), svid, make.es256))
    make.invalid("a JWT-SVID under the token's type", "TRAPS 1.", compact(header_of(make.es256), svid, make.es256))
    proof = {"jti": "1", "htm": "GET", "htu": f"{AUDIENCE}/tickets/4711", "iat": make.now}
    header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": make.es256.public_jwk}
    make.invalid("a DPoP proof", "TRAPS 1.", compact(header, proof, make.es256))
    make.invalid("a DPoP proof with a key id", "TRAPS 1.", compact(header | {"kid": make.es256.kid}, proof, make.es256))
    listed = {"sub": f"{ISSUER}/status/v1/lists/1", "iat": make.now, "status_list": {"bits": 1, "lst": "eNrbuRgAAhcBXQ"}}
    make.invalid("a status list", "TRAPS 1.", compact(header_of(make.es256, typ="statuslist+jwt"), listed, make.es256))


def misdirected(make: Makers) -> None:
    for issuer in ("http://other.test", f"{ISSUER}/", ISSUER.upper(), "https://broker.test", ""):
        make.invalid(f"issuer {issuer!r}", "Compared exactly (RFC 8725 §3.8).", make.token(iss=issuer))
    foreign = [detail(f"{RESOURCE}#read[description,subject]") | {"locations": ["https://kb.example.com"]}]
    make.invalid("another service", "RFC 8725 §3.9.", make.token(aud="https://kb.example.com", authorization_details=foreign))
    audiences: list[Any] = [[AUDIENCE], [AUDIENCE, "https://kb.example.com"], f"{AUDIENCE}/", "", None]
    for audience in audiences:
        make.invalid(
            f"audience {audience!r}", "One string, compared exactly (RFC 8725 §3.9, TRAPS 2).", make.token(aud=audience)
        )


def unsound(make: Makers) -> None:
    for name in ("iat", "nbf", "exp"):
        for value in (True, float(make.now + 60), str(make.now + 60), -1, 10**30, None, [make.now]):
            make.invalid(f"{name} {value!r}", "TRAPS 2, 4.", make.token(**{name: value}))
    for name in members(now=make.now):
        make.invalid(f"no {name}", "Absent means no.", compact(header_of(make.es256), without(make.claims(), name), make.es256))
    make.invalid("issued six seconds from now", "The leeway is five.", make.token(iat=make.now + 6))
    make.invalid("valid six seconds from now", "The leeway is five.", make.token(nbf=make.now + 6))
    make.invalid("more than an hour long", "Events are forgotten an hour after.", make.token(exp=make.now + 3601))


def unknown(make: Makers) -> None:
    changes: dict[str, dict[str, Any]] = {
        "an unknown claim": {"admin": True},
        "an unknown constraint": {"lease": {"only_from": "10.0.0.0/8"}},
        "an unknown level": {"lease": {"level": "admin"}},
        "a text as the classes that end it": {"lease": {"ends_on_labels": "pii"}},
        "a number as a class that ends it": {"lease": {"ends_on_labels": [1]}},
        "nothing as the classes that end it": {"lease": {"ends_on_labels": None}},
        "a number as whether taint ends it": {"lease": {"ends_on_taint": 1}},
        "what it ends with, misspelt": {"lease": {"ends_on_label": ["pii"]}},
        "a text as what else ends it": {"lease": {"ends_with": "lease lse_01"}},
        "something without a kind as what else ends it": {"lease": {"ends_with": ["lse_01"]}},
        "nothing as what else ends it": {"lease": {"ends_with": [""]}},
        "more that ends it than can be checked": {"lease": {"ends_with": [f"lease lse_{number}" for number in range(100)]}},
        "an unknown confirmation": {"cnf": {"jwk": {}}},
        "two confirmations": {"cnf": {"jkt": "a", "x5t#S256": "b"}},
        "an empty confirmation": {"cnf": {}},
        "a boolean position": {"lease": {"position": True}},
        "a float position": {"lease": {"position": 2000.0}},
        "a negative position": {"lease": {"position": -1}},
        "a path that starts elsewhere": {"lease": {"path": ["tsk_02"]}},
        "no path": {"lease": {"path": []}},
        "five tasks deep": {"lease": {"path": ["tsk_01", "b", "c", "d", "e"]}},
    }
    for name, changed in changes.items():
        make.invalid(name, "Unknown means no (invariant I5).", make.token(**changed))


def disagreeing(make: Makers) -> None:
    said = detail(f"{RESOURCE}#read[description,subject]")
    details: dict[str, Any] = {
        "another resource in the detail": [said | {"identifier": "crm:ticket/1"}],
        "more fields in the detail": [said | {"datatypes": ["description", "email", "subject"]}],
        "two actions in the detail": [said | {"actions": ["read", "write"]}],
        "two details": [said, said],
        "no detail": [],
        "an unknown member in the detail": [said | {"privileges": ["admin"]}],
    }
    for name, value in details.items():
        make.invalid(name, "Scope and detail say the same one thing (TRAPS 14).", make.token(authorization_details=value))
    for scope in (
        "crm:ticket/*#read",
        "crm:ticket/..#read",
        f"{RESOURCE}#read[subject,description]",
        f"{RESOURCE}#read {RESOURCE}#write",
        "openid",
    ):
        make.invalid(f"scope {scope}", "TRAPS 16.", make.token(scope=scope))


HIT: dict[str, dict[str, Any]] = {
    "unknown kind": {"lease": {"position": 1000}},
    "all": {"lease": {"position": 1001}},
    "lease": {"jti": "lse_ended"},
    "task, the root": {"txn": "tsk_ended", "lease": {"path": ["tsk_ended"]}},
    "task, one above": {"lease": {"path": ["tsk_01", "tsk_ended", "tsk_03"]}},
    "taint": {"txn": "tsk_tainted", "lease": {"path": ["tsk_tainted"], "ends_on_taint": True}},
    "a class of data": {"txn": "tsk_read", "lease": {"path": ["tsk_read"], "ends_on_labels": ["pii"]}},
    "one of several classes of data": {"txn": "tsk_read", "lease": {"path": ["tsk_read"], "ends_on_labels": ["health", "pii"]}},
    "a class of data, read above": {
        "txn": "tsk_read",
        "lease": {"path": ["tsk_read", "tsk_02"], "ends_on_labels": ["pii"]},
    },
    "the lease it was delegated from": {"lease": {"ends_with": ["lease lse_ended"]}},
    "the last of what it was delegated from": {"lease": {"ends_with": ["lease lse_02", "class class-ended"]}},
    "agent": {"client_id": "ended-bot"},
    "agent, above reading": {"client_id": "reduced-bot", "lease": {"level": "draft"}},
    "agent, unapproved": {"client_id": "unapproved-bot"},
    "workload": {"sub": "spiffe://prod.example.com/ended"},
    "actor": {"act": {"sub": "spiffe://prod.example.com/ended"}},
    "instance": {"lease": {"instance": "spiffe://prod.example.com/ended"}},
    "user": {"sub": "corp:ended", "lease": {"user": True}},
    "resource below a prefix": of_scope("crm:ticket/47/note#read"),
    "class": {"lease": {"class": "class-ended"}},
}


def ended(make: Makers) -> None:
    make.refuses(
        "token_expired",
        "this very second",
        "No leeway on exp.",
        make.token(iat=make.now - 300, nbf=make.now - 300, exp=make.now),
    )
    for name, changes in HIT.items():
        lease = {"position": 1002} | changes.get("lease", {})
        make.refuses("token_revoked", f"ended by {name}", "An event of the snapshot.", make.token(**changes | {"lease": lease}))
    make.refuses(
        "token_revoked",
        "a stolen key",
        "It signs any position (TRAPS 6).",
        make.token(key=make.lost, lease={"position": 2**40}),
    )
    make.refuses(
        "token_revoked",
        "an earlier epoch",
        "The store was lost (TRAPS 20).",
        make.token(lease={"epoch": "01JD0000000000000000000009"}),
    )
    make.refuses(
        "revocation_state_stale",
        "a later epoch",
        "We know less than its issuer.",
        make.token(lease={"epoch": "01JF0000000000000000000001"}),
    )


def bounded(make: Makers) -> None:
    make.refuses("insufficient_scope", "another action", "", make.token(), action="write")
    for resource in (
        "crm:ticket/47",
        "crm:ticket/4711/note",
        "crm:ticket/4712",
        "CRM:ticket/4711",
        "crm:ticket/4711#read",
        "crm:ticket/%34711",
        "",
    ):
        make.refuses(
            "insufficient_scope", f"resource {resource!r}", "By whole segments (TRAPS 16).", make.token(), resource=resource
        )
    make.refuses("insufficient_scope", "a field that is not granted", "TRAPS 14.", make.token(), fields=["subject", "email"])
    make.refuses(
        "insufficient_scope", "single use", "Honoured only when it was consumed.", make.token(lease={"single_use": True})
    )
    make.refuses("insufficient_scope", "counted", "Honoured only when it was consumed.", make.token(lease={"max_uses": 3}))
    make.refuses(
        "proof_required",
        "bound to a key",
        "Not a bearer token (TRAPS 17).",
        make.token(cnf={"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}),
    )
    make.refuses(
        "proof_required",
        "bound to a certificate",
        "Not a bearer token (TRAPS 17).",
        make.token(cnf={"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}),
    )


CHAPTERS = [golden, spared, forged, malformed, repeated, confused, misdirected, unsound, unknown, disagreeing, ended, bounded]


def document() -> dict[str, Any]:
    make = Makers()
    for chapter in CHAPTERS:
        chapter(make)
    return {
        "about": ABOUT,
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "epoch": EPOCH,
        "now": make.clock.now().wall,
        "jwks": key_set(make.es256, make.eddsa, make.rs256, make.lost),
        "feed_keys": key_set(make.feed),
        "snapshot": jose.write(msgspec.json.encode(make.log.snapshot()), type=SNAPSHOT_TYPE, key=make.feed),
        "cases": make.cases,
    }


if __name__ == "__main__":
    target = Path(__file__).parent / "tokens.json"
    target.write_text(json.dumps(document(), indent=1) + "\n", encoding="utf-8")
