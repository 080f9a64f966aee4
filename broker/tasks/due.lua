-- Name tasks of one shard whose time is over or whose ending was left unfinished, the longest overdue first.
-- KEYS tasks   ARGV the most to name
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now(), 'LIMIT', 0, ARGV[1])
