-- Take a proof once. KEYS proofs   ARGV its hash, the ms until which it is kept
-- Returns 1 the first time and 0 ever after. What nobody would accept any more is swept out; so a record that would be swept
-- at once, by a worker's clock that is far behind, does not count as taken.
local time = now()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. time)
if tonumber(ARGV[2]) < time then
  return 0
end
return redis.call('ZADD', KEYS[1], 'NX', ARGV[2], ARGV[1])
