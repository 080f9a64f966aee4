-- Forget leases of one shard that ended long ago, a bounded number at a time.
-- KEYS ended   ARGV prefix of the shard's keys, the milliseconds for which an ended lease is kept, the most to forget
-- Returns how many were forgotten.
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now() - tonumber(ARGV[2]), 'LIMIT', 0, ARGV[3])
if #old == 0 then
  return 0
end
for i, id in ipairs(old) do
  old[i] = ARGV[1] .. 'lease:' .. id
end
redis.call('DEL', unpack(old))
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, #old - 1)
return #old
