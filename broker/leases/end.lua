-- Mark leases of one shard as ended. Only those still live change, so it may be repeated.
-- KEYS due, ended, leases, class   ARGV prefix of the shard's keys, how they ended, then lease ids
-- Returns how many changed.
local changed, time = 0, now()
for i = 3, #ARGV do
  local id = ARGV[i]
  local lease = redis.call('HGET', KEYS[3], id) or ''
  local times, issued, life, record, task, class = string.match(lease, '^((%d+) (%d+)) live ((%S+) (%S+) .*)$')
  if times and (issued + life) * 1000 > time then
    local epoch = string.match(redis.call('HGET', KEYS[4], class) or '', '^%S+') or ''
    local key = ARGV[1] .. 'task:' .. task
    local known = redis.call('HMGET', key, 'agent', 'type', 'path')
    local agent = known[1] or ''
    redis.call('HSET', KEYS[3], id, times .. ' ' .. ARGV[2] .. ' ' .. record)
    redis.call('ZREM', ARGV[1] .. 'agent:' .. agent .. ':' .. epoch, id)
    redis.call('ZREM', ARGV[1] .. 'type:' .. agent .. ':' .. (known[2] or '') .. ':live:' .. epoch, id)
    redis.call('ZREM', key .. ':leases', id)
    for _, above in ipairs(cjson.decode(known[3] or '[]')) do
      redis.call('ZREM', ARGV[1] .. 'task:' .. above .. ':live:' .. epoch, id)
    end
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZADD', KEYS[2], time, id)
    changed = changed + 1
  end
end
return changed
