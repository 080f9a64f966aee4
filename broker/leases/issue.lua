-- Write one lease, count it, and record it, or do none of it. A lease id seen before changes nothing and is told as it is.
-- KEYS leases, due, the agent's leases, the task's leases, task, audit, tasks, floor, class, classes, then of each volume that counts
-- it its live leases, its rate and its totals
-- ARGV lease id, longest life in ms, what is kept of it, audit record, the ms by which the ending of leases and tasks of this shard
-- may be late, the ms at which the agent's last day is over, the epoch and number at which it was decided, the id and the text of its
-- class, then of each volume its limits per minute, live and in all (0: none), its field in the totals, 1 where its live leases are
-- kept for it alone, and the names of the three limits
-- Returns 'issued' with the seconds of issue and expiry, the lease and its class, or the reason why not with the ms to wait.
local time = now()
-- First of all, for what was written before is handed out again only by who decided it again.
local floor_epoch, floor = string.match(redis.call('GET', KEYS[8]) or '', '^(%S+) (%d+)$')
if floor_epoch and (floor_epoch > ARGV[7] or (floor_epoch == ARGV[7] and tonumber(floor) > tonumber(ARGV[8]))) then
  return {'overtaken', 1000}
end
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then
  local issued, life, record, class = string.match(known, '^(%d+) (%d+) live (%S+ (%S+) .*)$')
  if not issued or (issued + life) * 1000 <= time then
    return {'ended', 0}
  end
  return {'issued', tonumber(issued), issued + life, record, redis.call('HGET', KEYS[9], class)}
end
local function lateness(index)
  local first = redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')
  return first[2] and time - tonumber(first[2]) or 0
end
if math.max(lateness(KEYS[2]), lateness(KEYS[7])) > tonumber(ARGV[5]) then
  return {'lagging', 5000}
end
local task = redis.call('HMGET', KEYS[5], 'status', 'ends')
if task[1] ~= 'open' or tonumber(task[2]) <= time then
  return {'task_closed', 0}
end
local issued = math.floor(time / 1000)
local last = tonumber(ARGV[6])
if math.floor(last / 1000) <= issued then
  return {'agent_ended', 0}
end
local expires = math.floor(math.min(time + tonumber(ARGV[2]), tonumber(task[2]), last) / 1000)
if expires <= issued then
  return {'task_closed', 0}
end
local volumes = {}
for i = 11, #ARGV, 8 do
  local first = 11 + 3 * #volumes
  table.insert(volumes, {
    live = KEYS[first], rate = KEYS[first + 1], totals = KEYS[first + 2],
    per_minute = tonumber(ARGV[i]), most = tonumber(ARGV[i + 1]), in_all = tonumber(ARGV[i + 2]), field = ARGV[i + 3],
    is_kept = ARGV[i + 4] == '1', names = {ARGV[i + 5], ARGV[i + 6], ARGV[i + 7]},
  })
end
-- All are asked before any counts, so that what is refused uses nothing up.
for _, volume in ipairs(volumes) do
  if volume.in_all > 0 and tonumber(redis.call('HGET', volume.totals, volume.field) or 0) >= volume.in_all then
    return {volume.names[3], 0}
  end
  if volume.most > 0 and redis.call('ZCOUNT', volume.live, '(' .. time, '+inf') >= volume.most then
    return {volume.names[2], 1000}
  end
  if volume.per_minute > 0 then
    -- A leaky bucket in one number, the time at which it will have run empty (GCRA, ITU-T I.371 appendix I).
    volume.step = 60000 / volume.per_minute
    volume.empty = math.max(tonumber(redis.call('GET', volume.rate) or 0), time)
    if volume.empty - time > 60000 - volume.step then
      return {volume.names[1], math.ceil(volume.empty - time - 60000 + volume.step)}
    end
  end
end
-- Each lease that comes takes some that are over with it, so an index is never much longer than what lives.
local function add_to(index)
  local over = redis.call('ZCOUNT', index, '-inf', time)
  if over > 0 then
    redis.call('ZREMRANGEBYRANK', index, 0, math.min(over, 16) - 1)
  end
  redis.call('ZADD', index, expires * 1000, ARGV[1])
end
for _, volume in ipairs(volumes) do
  redis.call('HINCRBY', volume.totals, volume.field, 1)
  if volume.step then
    redis.call('SET', volume.rate, string.format('%.3f', volume.empty + volume.step), 'PX', 120000)
  end
  if volume.is_kept and volume.most > 0 then
    add_to(volume.live)
    redis.call('PEXPIRE', volume.live, 7200000)
  end
end
redis.call('XADD', KEYS[6], '*', 'time', time, 'record', ARGV[4])
redis.call('HSET', KEYS[1], ARGV[1], issued .. ' ' .. expires - issued .. ' live ' .. ARGV[3])
redis.call('ZADD', KEYS[2], expires * 1000, ARGV[1])
add_to(KEYS[3])
-- The index of an agent is of one epoch; a broom takes it away long after the last lease in it.
redis.call('PEXPIRE', KEYS[3], 7200000)
add_to(KEYS[4])
redis.call('HSETNX', KEYS[9], ARGV[9], ARGV[10])
redis.call('ZADD', KEYS[10], 'GT', expires * 1000, ARGV[9])
return {'issued', issued, expires, ARGV[3], ARGV[10]}
