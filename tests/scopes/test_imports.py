"""What the verifier library needs: an allow-list, for a deny-list forgets the next library."""

import ast
import sys
from pathlib import Path

import scopes

ALLOWED = {"cryptography", "httpx2", "jwt", "msgspec", "scopes"}
PACKAGE = Path(scopes.__file__).parent


def imported(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    nodes = ast.walk(ast.parse(path.read_text()))
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


def test_the_verifier_library_imports_its_base_dependencies_and_nothing_else() -> None:
    used = {name for path in PACKAGE.rglob("*.py") for name in imported(path)}
    assert used - set(sys.stdlib_module_names) <= ALLOWED
