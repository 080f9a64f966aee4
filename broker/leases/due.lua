-- Name leases of one shard whose end has come, the longest overdue first.
-- KEYS due   ARGV the most to name
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now(), 'LIMIT', 0, ARGV[1])
