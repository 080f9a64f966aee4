-- Mark leases of one shard as ended. Only those still live change, so it may be repeated.
-- KEYS due, ended   ARGV prefix of the shard's keys, how they ended, then lease ids
-- Returns how many changed.
local changed, time = 0, now()
for i = 3, #ARGV do
  local id = ARGV[i]
  local key = ARGV[1] .. 'lease:' .. id
  local issued, expires, body = string.match(redis.call('GET', key) or '', '^(%d+) (%d+) live (.*)$')
  if issued and tonumber(expires) * 1000 > time then
    local record = cjson.decode(body)
    local task = ARGV[1] .. 'task:' .. record[1]
    redis.call('SET', key, issued .. ' ' .. expires .. ' ' .. ARGV[2] .. ' ' .. body)
    redis.call('ZREM', ARGV[1] .. 'agent:' .. (redis.call('HGET', task, 'agent') or '') .. ':' .. record[4], id)
    redis.call('ZREM', task .. ':leases', id)
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZADD', KEYS[2], time, id)
    changed = changed + 1
  end
end
return changed
