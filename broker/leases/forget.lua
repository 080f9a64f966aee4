-- Forget leases of one shard that ended long ago, a bounded number at a time.
-- KEYS ended, leases   ARGV the milliseconds for which an ended lease is kept, the most to forget
-- Returns how many were forgotten.
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now() - tonumber(ARGV[1]), 'LIMIT', 0, ARGV[2])
if #old == 0 then
  return 0
end
redis.call('HDEL', KEYS[2], unpack(old))
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, #old - 1)
return #old
