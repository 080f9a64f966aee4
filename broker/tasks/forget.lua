-- Forget tasks of one shard that were closed long ago, a bounded number at a time.
-- KEYS closed   ARGV prefix of the shard's keys, the milliseconds for which a closed task is kept, the most to forget
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now() - tonumber(ARGV[2]), 'LIMIT', 0, ARGV[3])
for _, id in ipairs(old) do
  local task = ARGV[1] .. 'task:' .. id
  redis.call('DEL', task, task .. ':leases', task .. ':children')
  redis.call('ZREM', KEYS[1], id)
end
return #old
