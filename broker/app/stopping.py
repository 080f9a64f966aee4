"""What has to happen when a worker is told to stop, before its server does anything about it."""

import asyncio
import functools
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def when_told_to_stop(act: Callable[[], None]) -> Iterator[None]:
    """Have the event loop act when this process is told to stop, before whatever its server does about it.

    A server waits for its streams to end before it says that it stops, and these never end by themselves.
    """
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if is_main else {}
    handlers = {number: handler for number, handler in before.items() if callable(handler)}
    for number, handler in handlers.items():
        # The loop itself hears of signals in another way, so what the server asked of the loop is still done.
        signal.signal(number, functools.partial(_act_then, asyncio.get_running_loop(), act, handler))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _act_then(loop: asyncio.AbstractEventLoop, act: Callable[[], None], before: Any, *received: Any) -> None:
    loop.call_soon_threadsafe(act)
    before(*received)
