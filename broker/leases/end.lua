-- Mark leases of one shard as ended. Only those still marked live change, so it may be repeated.
-- KEYS due, ended   ARGV prefix of the shard's keys, how they ended, then lease ids
-- Returns how many changed.
local changed = 0
for i = 3, #ARGV do
  local key = ARGV[1] .. 'lease:' .. ARGV[i]
  local issued, expires, body = string.match(redis.call('GET', key) or '', '^(%d+) (%d+) live (.*)$')
  if issued then
    local record = cjson.decode(body)
    local agent = redis.call('HGET', ARGV[1] .. 'task:' .. record.task, 'agent') or ''
    redis.call('SET', key, issued .. ' ' .. expires .. ' ' .. ARGV[2] .. ' ' .. body)
    redis.call('ZREM', ARGV[1] .. 'agent:' .. agent .. ':' .. record.epoch, ARGV[i])
    redis.call('ZADD', KEYS[2], now(), ARGV[i])
    changed = changed + 1
  end
  redis.call('ZREM', KEYS[1], ARGV[i])
end
return changed
