-- Forget decision classes of one shard whose last lease ended long ago, a bounded number at a time.
-- KEYS classes, class   ARGV the milliseconds for which a class is kept after its last lease, the most to forget
-- Returns how many were forgotten.
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now() - tonumber(ARGV[1]), 'LIMIT', 0, ARGV[2])
if #old == 0 then
  return 0
end
redis.call('HDEL', KEYS[2], unpack(old))
redis.call('ZREM', KEYS[1], unpack(old))
return #old
