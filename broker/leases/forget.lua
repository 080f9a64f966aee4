-- Forget leases of one shard that ended long ago, a bounded number at a time.
-- KEYS ended   ARGV prefix of the shard's keys, the milliseconds for which an ended lease is kept, the most to forget
-- Returns how many were forgotten.
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now() - tonumber(ARGV[2]), 'LIMIT', 0, ARGV[3])
for _, id in ipairs(old) do
  local key = ARGV[1] .. 'lease:' .. id
  local body = string.match(redis.call('GET', key) or '', '^%d+ %d+ %a+ (.*)$')
  if body then
    redis.call('ZREM', ARGV[1] .. 'task:' .. cjson.decode(body).task .. ':leases', id)
    redis.call('DEL', key)
  end
  redis.call('ZREM', KEYS[1], id)
end
return #old
