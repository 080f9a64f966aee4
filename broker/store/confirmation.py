"""Whether replicas have what a pipeline wrote: the last words on it, and what is made of their answers (`DESIGN.md` 3.9)."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from broker.errors import Unconfirmed
from broker.store.command import pack

_WRITE = "#!lua flags=allow-oom\n" + files("broker.store").joinpath("confirm.lua").read_text()


class Confirmation:
    """Asks for so many replicas and waits for them at most so many milliseconds; 0 replicas asks for nothing."""

    def __init__(self, replicas: int, *, within: int) -> None:
        self.replicas = replicas
        self._within = within

    def questions(self, key: str) -> list[bytes]:
        """Return the commands that end a pipeline; `key` is one that it wrote.

        A write of their own comes first. Without it, a pipeline that changed nothing would be confirmed by replicas that
        hear nothing any more, for there is nothing that they could lack.
        """
        name = key.partition("}")[0] + "}:confirm"
        return [pack("EVAL", _WRITE, 1, name), pack("WAIT", self.replicas, self._within)]

    def is_given(self, answers: Sequence[Any]) -> bool:
        """Tell whether the answers to the questions say that enough replicas have it all."""
        wrote, confirmed = answers
        return wrote is None and isinstance(confirmed, int) and confirmed >= self.replicas

    def judge(self, answer: Any, answers: Sequence[Any]) -> Any:
        """Return the answer, or `Unconfirmed` in its place."""
        return answer if isinstance(answer, Exception) or self.is_given(answers) else Unconfirmed()


NOBODY = Confirmation(0, within=0)
"""Without replicas, what the master did is done."""
