-- Mark leases of one shard as ended. Only those still live change, so it may be repeated.
-- KEYS due, ended, leases   ARGV prefix of the shard's keys, how they ended, then lease ids
-- Returns how many changed.
local changed, time = 0, now()
for i = 3, #ARGV do
  local id = ARGV[i]
  local lease = redis.call('HGET', KEYS[3], id) or ''
  local times, issued, life, record, task, epoch = string.match(lease, '^((%d+) (%d+)) live ((%S+) (%S+) .*)$')
  if times and (issued + life) * 1000 > time then
    task = ARGV[1] .. 'task:' .. task
    redis.call('HSET', KEYS[3], id, times .. ' ' .. ARGV[2] .. ' ' .. record)
    redis.call('ZREM', ARGV[1] .. 'agent:' .. (redis.call('HGET', task, 'agent') or '') .. ':' .. epoch, id)
    redis.call('ZREM', task .. ':leases', id)
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZADD', KEYS[2], time, id)
    changed = changed + 1
  end
end
return changed
