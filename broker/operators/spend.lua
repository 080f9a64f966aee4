-- Spend an assertion's id once. KEYS spent   ARGV id, the ms until which it could be accepted again
-- Returns 1 the first time and 0 ever after. Ids that nothing would accept any more are swept out.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now())
return redis.call('ZADD', KEYS[1], 'NX', ARGV[2], ARGV[1])
