"""Scripts: one atomic step each, with the one clock before it."""

import asyncio
import hashlib

from broker.store import Script
from broker.store.scripts import CLOCK
from scopes.clock import SystemClock
from tests.broker.world import Backend

HERE = "tests.broker.store"


def test_a_script_is_named_by_the_hash_of_its_text_as_redis_names_it():
    script = Script(HERE, "count", clock=CLOCK)
    assert script.sha == hashlib.sha1(script.text.encode()).hexdigest()
    assert script.text.startswith(CLOCK)


async def test_the_clock_of_scripts_is_the_servers_in_milliseconds(backend: Backend) -> None:
    script = Script(HERE, "clock_reading", clock=CLOCK)
    before = SystemClock().now().wall
    told = await backend.stores.shared.run(script, ["ab:{s00}:any"], [])
    assert before <= told <= SystemClock().now().wall


async def test_a_script_that_runs_many_times_at_once_runs_each_time_alone(backend: Backend) -> None:
    store = backend.stores.shared
    script = store.script(HERE, "count")
    counts = await asyncio.gather(*(store.run(script, ["ab:{s00}:counter"], []) for _ in range(50)))
    assert sorted(counts) == list(range(1, 51))
