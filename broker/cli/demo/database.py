"""The demo's database on a real Redis: empty before, and empty again after, of what the demo put there only."""

import redis

from broker.errors import ConfigurationError

_OURS = "ab:*"


class Database:
    """One database of a Redis server, lent to the demo."""

    def __init__(self, url: str) -> None:
        """Connect; raise `ConfigurationError` if it cannot be reached or holds anything."""
        self._client = redis.Redis.from_url(url)
        try:
            size = self._client.dbsize()
        except (redis.exceptions.RedisError, OSError) as error:
            raise ConfigurationError([f"{url}: not reachable ({type(error).__name__})"]) from None
        if size:
            raise ConfigurationError([f"{url}: holds {size} keys; name a database that is empty, such as …/9"])

    def empty(self) -> None:
        """Delete what a broker keeps."""
        for key in self._client.scan_iter(_OURS, count=1000):
            self._client.delete(key)
