"""Tokens as the platforms write them (their public documentation), and issuers whose keys the tests hold."""

import json
from pathlib import Path
from typing import Any

from broker.identity import PLATFORMS, JwksFile, OidcTokens, TrustedIssuer
from broker.identity.token_review import TokenReview
from scopes.keys import SigningKey
from tests.broker.clocks import StillClock
from tests.broker.registry.catalogue import key_of
from tests.scopes.tokens import compact, key_set

ISSUER = "https://broker.test"
CLUSTER = "https://kubernetes.default.svc.cluster.local"
GITHUB = "https://token.actions.githubusercontent.com"
GITLAB = "https://gitlab.com"
GOOGLE = "https://accounts.google.com"

KEYS = {name: key_of(f"issuer {name}") for name in ("kubernetes", "github", "gitlab", "generic", "other-cluster")}
ISSUERS = {"kubernetes": CLUSTER, "github": GITHUB, "gitlab": GITLAB, "generic": GOOGLE}

ACCOUNT = "system:serviceaccount:support:bot"
ACCOUNT_UID, POD_UID = "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798", "5e0bd49b-f040-43b0-99b7-22765a53f7f3"

KUBERNETES_CLAIMS: dict[str, Any] = {
    "aud": [ISSUER],
    "iss": CLUSTER,
    "jti": "ea28ed49-2e11-4280-9ec5-bc3d1d84661a",
    "kubernetes.io": {
        "namespace": "support",
        "node": {"name": "node-1", "uid": "58456cb0-dd00-45ed-b797-5578fdceaced"},
        "pod": {"name": "bot-69cbfb9798-jv9gn", "uid": POD_UID},
        "serviceaccount": {"name": "bot", "uid": ACCOUNT_UID},
        "warnafter": 1700087607,
    },
    "sub": ACCOUNT,
}
"""Kubernetes, "Managing Service Accounts", schema of service account private claims."""

GITHUB_CLAIMS: dict[str, Any] = {
    "jti": "8a7c1f0e",
    "sub": "repo:octo-org/octo-repo:environment:prod",
    "environment": "prod",
    "aud": ISSUER,
    "ref": "refs/heads/main",
    "sha": "f00dfeed",
    "repository": "octo-org/octo-repo",
    "repository_owner": "octo-org",
    "actor_id": "12",
    "repository_visibility": "private",
    "repository_id": "74",
    "repository_owner_id": "65",
    "run_id": "9876543210",
    "run_number": "10",
    "run_attempt": "2",
    "runner_environment": "github-hosted",
    "actor": "octocat",
    "workflow": "nightly",
    "head_ref": "",
    "base_ref": "",
    "event_name": "workflow_dispatch",
    "ref_type": "branch",
    "ref_protected": "true",
    "job_workflow_ref": "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main",
    "iss": GITHUB,
}
"""GitHub, "OpenID Connect reference"."""

GITHUB_NEW_SUBJECT = "repo:octo-org@65/octo-repo@74:environment:prod"
"""As repositories have it that were made or renamed since July 2026: names with their ids."""

GITLAB_CLAIMS: dict[str, Any] = {
    "namespace_id": "72",
    "namespace_path": "my-group",
    "project_id": "20",
    "project_path": "my-group/my-project",
    "user_id": "1",
    "user_login": "sample-user",
    "user_email": "sample-user@example.com",
    "user_identities": [{"provider": "github", "extern_uid": "2435223452345"}],
    "pipeline_id": "574",
    "pipeline_source": "push",
    "job_id": "302",
    "ref": "main",
    "ref_type": "branch",
    "ref_path": "refs/heads/main",
    "ref_protected": "true",
    "groups_direct": ["my-group/sub"],
    "environment": "production",
    "environment_protected": "true",
    "runner_id": 1,
    "runner_environment": "gitlab-hosted",
    "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
    "project_visibility": "public",
    "iss": GITLAB,
    "sub": "project_path:my-group/my-project:ref_type:branch:ref:main",
    "aud": ISSUER,
}
"""GitLab, "OpenID Connect authentication using ID tokens"."""

ACCOUNT_EMAIL = "bot@my-project.iam.gserviceaccount.com"
GENERIC_CLAIMS: dict[str, Any] = {
    "aud": ISSUER,
    "azp": "107517467455664443766",
    "email": ACCOUNT_EMAIL,
    "email_verified": True,
    "google": {"compute_engine": {"project_id": "my-project", "project_number": 739419398126, "zone": "us-west1-a"}},
    "iss": GOOGLE,
    "sub": "107517467455664443766",
}
"""Google Cloud, "Verify the identity of instances": a service account's token of the metadata server."""

CLAIMS = {"kubernetes": KUBERNETES_CLAIMS, "github": GITHUB_CLAIMS, "gitlab": GITLAB_CLAIMS, "generic": GENERIC_CLAIMS}
REQUIRE = {"google/compute_engine/project_id": "my-project"}


def jwks_file(folder: Path, name: str, *keys: SigningKey) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(key_set(*(keys or (KEYS[name],)))))
    return path


class Platforms:
    """Four issuers, one of each kind, whose keys are in files."""

    def __init__(self, folder: Path, *, review: TokenReview | None = None) -> None:
        self.folder = folder
        self.clock = StillClock()
        self.trusts = [self.trust(name, review=review if name == "kubernetes" else None) for name in CLAIMS]
        self.tokens = OidcTokens(self.trusts, clock=self.clock)

    def trust(self, name: str, *, key: str = "", review: TokenReview | None = None) -> TrustedIssuer:
        return TrustedIssuer(
            name=key or name,
            issuer=ISSUERS[name],
            audience=ISSUER,
            platform=PLATFORMS[name],  # type: ignore[index]
            keys=JwksFile(jwks_file(self.folder, key or name)),
            require=REQUIRE if name == "generic" else {},
            review=review,
        )

    def token(
        self, name: str, /, *, key: SigningKey | None = None, header: dict[str, Any] | None = None, **changes: Any
    ) -> str:
        """Write a good token of a platform, changed; `None` takes a claim or a member of the header out."""
        signing = key or KEYS[name]
        claims = platform_claims(name, self.clock.seconds, **changes)
        head = {"alg": signing.alg, "typ": "JWT", "kid": signing.kid, **(header or {})}
        return compact({name: value for name, value in head.items() if value is not None}, claims, signing)


def platform_claims(name: str, now: int, /, **changes: Any) -> dict[str, Any]:
    claims = {**CLAIMS[name], "iat": now, "nbf": now, "exp": now + 600, **changes}
    return {name: value for name, value in claims.items() if value is not None}
