-- Open a task, and record it. A task id seen before changes nothing.
-- KEYS task, tasks, audit, and for a child its parent and its parent's children
-- ARGV task id, longest duration in ms, the ms at which it ends at the latest ('' for no such bound), audit record, then fields and
-- values of the task
-- Returns when it began and when it ends, in ms, or nothing where the parent is not open any more, or no time is left.
local known = redis.call('HMGET', KEYS[1], 'created', 'ends')
if known[1] then
  return {tonumber(known[1]), tonumber(known[2])}
end
local time = now()
local ends = math.min(time + tonumber(ARGV[2]), tonumber(ARGV[3]) or math.huge)
if ends <= time then
  return false
end
if #KEYS > 3 then
  local parent = redis.call('HMGET', KEYS[4], 'status', 'ends')
  if parent[1] ~= 'open' or tonumber(parent[2]) <= time then
    return false
  end
  ends = math.min(ends, tonumber(parent[2]))
  redis.call('SADD', KEYS[5], ARGV[1])
end
redis.call('XADD', KEYS[3], '*', 'time', time, 'record', ARGV[4])
redis.call('HSET', KEYS[1], 'status', 'open', 'created', time, 'ends', ends, unpack(ARGV, 5))
redis.call('ZADD', KEYS[2], ends, ARGV[1])
return {time, ends}
