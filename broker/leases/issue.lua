-- Write one lease, count it, and record it, or do none of it. A lease id seen before changes nothing and is told as it is.
-- KEYS leases, due, the agent's leases, the task's leases, task, audit, rate, tasks, floor
-- ARGV lease id, longest life in ms, what is kept of it, audit record, the limits per minute, live and per task (0: none), the ms by
-- which the ending of leases and tasks of this shard may be late, the ms at which the agent's last day is over, and the epoch and
-- number at which it was decided
-- Returns 'issued' with the seconds of issue and expiry and the lease, or the reason why not with the ms to wait.
local time = now()
-- First of all, for what was written before is handed out again only by who decided it again.
local floor_epoch, floor = string.match(redis.call('GET', KEYS[9]) or '', '^(%S+) (%d+)$')
if floor_epoch and (floor_epoch > ARGV[10] or (floor_epoch == ARGV[10] and tonumber(floor) > tonumber(ARGV[11]))) then
  return {'overtaken', 1000}
end
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then
  local issued, life, record = string.match(known, '^(%d+) (%d+) live (.*)$')
  if not issued or (issued + life) * 1000 <= time then
    return {'ended', 0}
  end
  return {'issued', tonumber(issued), issued + life, record}
end
local function lateness(index)
  local first = redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')
  return first[2] and time - tonumber(first[2]) or 0
end
if math.max(lateness(KEYS[2]), lateness(KEYS[8])) > tonumber(ARGV[8]) then
  return {'lagging', 5000}
end
local task = redis.call('HMGET', KEYS[5], 'status', 'ends', 'leases')
if task[1] ~= 'open' or tonumber(task[2]) <= time then
  return {'task_closed', 0}
end
local issued = math.floor(time / 1000)
local last = tonumber(ARGV[9])
if math.floor(last / 1000) <= issued then
  return {'agent_ended', 0}
end
local expires = math.floor(math.min(time + tonumber(ARGV[2]), tonumber(task[2]), last) / 1000)
if expires <= issued then
  return {'task_closed', 0}
end
local per_minute, live, per_task = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
if per_task > 0 and tonumber(task[3] or 0) >= per_task then
  return {'leases_per_task', 0}
end
if live > 0 and redis.call('ZCOUNT', KEYS[3], '(' .. time, '+inf') >= live then
  return {'live_leases', 1000}
end
if per_minute > 0 then
  -- A leaky bucket in one number, the time at which it will have run empty (GCRA, ITU-T I.371 appendix I).
  local step = 60000 / per_minute
  local empty = math.max(tonumber(redis.call('GET', KEYS[7]) or 0), time)
  if empty - time > 60000 - step then
    return {'leases_per_minute', math.ceil(empty - time - 60000 + step)}
  end
  redis.call('SET', KEYS[7], string.format('%.3f', empty + step), 'PX', 120000)
end
-- Each lease that comes takes some that are over with it, so an index is never much longer than what lives.
for _, index in ipairs({KEYS[3], KEYS[4]}) do
  local over = redis.call('ZCOUNT', index, '-inf', time)
  if over > 0 then
    redis.call('ZREMRANGEBYRANK', index, 0, math.min(over, 16) - 1)
  end
end
redis.call('XADD', KEYS[6], '*', 'time', time, 'record', ARGV[4])
redis.call('HSET', KEYS[1], ARGV[1], issued .. ' ' .. expires - issued .. ' live ' .. ARGV[3])
redis.call('ZADD', KEYS[2], expires * 1000, ARGV[1])
redis.call('ZADD', KEYS[3], expires * 1000, ARGV[1])
-- The index of an agent is of one epoch; a broom takes it away long after the last lease in it.
redis.call('PEXPIRE', KEYS[3], 7200000)
redis.call('ZADD', KEYS[4], expires * 1000, ARGV[1])
redis.call('HINCRBY', KEYS[5], 'leases', 1)
return {'issued', issued, expires, ARGV[3]}
