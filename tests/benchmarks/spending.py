"""How much of the processor's time processes have taken, told from their command lines."""

import os
from pathlib import Path


def spent_by(*options: str) -> float:
    """Return the seconds that all processes whose command line has one of the options have taken until now."""
    return sum(_spent(process) for process in Path("/proc").glob("[0-9]*") if _is_of(process, options))


def _is_of(process: Path, options: tuple[str, ...]) -> bool:
    try:
        command = (process / "cmdline").read_text()
    except OSError:
        return False
    return any(option in command for option in options)


def _spent(process: Path) -> float:
    try:
        _, _, rest = (process / "stat").read_text().rpartition(")")
    except OSError:
        return 0.0
    user, system = rest.split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
