"""A newcomer's machine: a folder with nothing but what comes with the broker, two terminals, a broker that runs in one."""

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx2

from tests.broker.redis_server import free_port
from tests.docs.pages import ROOT, Block

WRITTEN_URL = "http://127.0.0.1:8750"
"""Where the pages say that the broker is; the suite has it elsewhere, so that it disturbs nobody."""

_PATIENCE = 600
"""How often to look, every twentieth of a second, whether a broker that starts is ready."""

_TIMEOUT = 300
"""The seconds after which a terminal hangs: generous, for machines that test much at once."""
_BETWEEN = "\x1e"


class Typed(NamedTuple):
    """A block and all that the terminal showed after it was typed."""

    block: Block
    shown: str


class Machine:
    """Everything happens in `folder`; its home is there as well."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        self.home = folder / "home"
        self.home.mkdir()
        (folder / "deploy").symlink_to(ROOT / "deploy")
        self._programs()

    @contextmanager
    def serving(self, typed: Sequence[Block]) -> Iterator[None]:
        """Type the blocks into the first terminal; the last of them stays, until the broker is ready and then to the end."""
        with (self.folder / "broker.log").open("wb") as log:
            # Through `exec`, so that what is signalled below is the broker and no shell before it.
            script = "".join(block.text for block in typed[:-1]) + "exec " + self._here(typed[-1].text)
            process = subprocess.Popen(
                ["sh", "-euc", script], cwd=self.folder, env=self._environment(), stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait(process)
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(_TIMEOUT)

    def type(self, typed: Sequence[Block]) -> list[Typed]:
        """Type the blocks into one terminal and return what each showed; fail with what was shown where one fails."""
        script = "".join(f"{self._command(block)}\nprintf '{_BETWEEN}'\n" for block in typed)
        done = subprocess.run(
            ["sh", "-euc", script],
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\nthe broker: {self.log}"
        return [Typed(block, shown) for block, shown in zip(typed, done.stdout.split(_BETWEEN), strict=False)]

    @property
    def log(self) -> str:
        """What the broker said."""
        log = self.folder / "broker.log"
        return log.read_text() if log.exists() else ""

    def _command(self, block: Block) -> str:
        text = self._here(block.text)
        if block.language == "python":
            name = block.mark.removeprefix("file=")
            save = f"cat > {shlex.quote(name)} <<'END OF FILE'\n{text}END OF FILE"
            return save if block.mark.startswith("file=") else f"python - <<'END OF FILE'\n{text}END OF FILE"
        return f"if {text.rstrip()}\nthen false; fi" if block.mark == "refused" else text

    def _here(self, text: str) -> str:
        return text.replace(WRITTEN_URL, self.url)

    def _programs(self) -> None:
        programs = self.folder / "bin"
        programs.mkdir()
        for name, command in (("broker", "-m broker.cli"), ("python", "")):
            path = programs / name
            path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {command} "$@"\n')
            path.chmod(0o755)

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
        return inherited | {
            "HOME": str(self.home),
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "BROKER_URL": self.url,
            "BROKER_ISSUER": self.url,
            "BROKER_LISTEN": self.url.removeprefix("http://"),
        }

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        pause = threading.Event()
        with httpx2.Client(base_url=self.url, timeout=2.0) as client:
            for _ in range(_PATIENCE):
                if _is_ready(client):
                    return
                assert process.poll() is None, self.log
                pause.wait(0.05)
        raise AssertionError(f"the broker did not become ready: {self.log}")


def _is_ready(client: httpx2.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx2.HTTPError:
        return False
