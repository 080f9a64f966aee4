"""A service that embeds the verifier installs little (`pip install agent-broker`, in an empty environment)."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPENDENCIES = {"cryptography", "httpx2", "msgspec", "pyjwt"}
"""What the base install names; the rest of what comes is what these need themselves."""

BROKERS = {"litestar", "granian", "redis", "fakeredis", "apscheduler", "cedarpy", "typer", "rich", "structlog", "pytest"}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds this project and nothing that was installed before, not even pip."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder)
    python = folder / "bin" / "python"
    pip(python, "install", "--quiet", "--no-compile", str(ROOT))
    return python


def pip(python: Path, *arguments: str) -> bytes:
    command = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=True, capture_output=True, cwd=python.parent).stdout


def installed(python: Path) -> set[str]:
    return {package["name"].lower() for package in json.loads(pip(python, "list", "--format=json"))}


def test_the_base_install_brings_the_verifiers_dependencies_only(python: Path) -> None:
    packages = installed(python)
    assert packages >= DEPENDENCIES
    assert not packages & BROKERS


def test_the_verifier_can_be_imported_there(python: Path) -> None:
    program = "from scopes import Verifier; import scopes.levels; print(Verifier.__name__)"
    done = subprocess.run([python, "-c", program], check=True, capture_output=True, text=True, cwd=python.parent)
    assert done.stdout.strip() == "Verifier"
