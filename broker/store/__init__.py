"""Redis itself: connections, scripts, one shared pipeline. What is kept there is other rooms' business."""

from broker.store.scripts import Script
from broker.store.shards import digits, feed_key, key, repeatable_id, shard_of, shard_of_id, sharded_id
from broker.store.store import Store, SyncStore

__all__ = [
    "Script",
    "Store",
    "SyncStore",
    "digits",
    "feed_key",
    "key",
    "repeatable_id",
    "shard_of",
    "shard_of_id",
    "sharded_id",
]
