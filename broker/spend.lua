-- Spend an assertion's id once. KEYS spent   ARGV id, the ms for which it is kept
-- Returns 1 the first time and 0 ever after. Ids that nothing would accept any more are swept out.
-- By the store's own clock from end to end, so that no worker's clock can have one forgotten too early.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now())
return redis.call('ZADD', KEYS[1], 'NX', now() + tonumber(ARGV[2]), ARGV[1])
