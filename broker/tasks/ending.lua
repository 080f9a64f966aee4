-- Mark a task and all below it as ending: from here on no lease is issued for them.
-- KEYS task, tasks   ARGV prefix of the shard's keys, task id, how it ends, the ms after which an unfinished ending is due
-- Returns the leases of the tree that have not expired, or nothing for an unknown task.
local before = redis.call('HGET', KEYS[1], 'status')
if not before then
  return false
end
local reply = {}
local time = now()
if before == 'open' then
  -- Nobody joins this task as the default one any more.
  local owner = redis.call('HMGET', KEYS[1], 'agent', 'workload')
  local default = ARGV[1] .. 'default:' .. owner[1] .. ':' .. owner[2]
  if redis.call('GET', default) == ARGV[2] then
    redis.call('DEL', default)
  end
  redis.call('ZADD', KEYS[2], time + tonumber(ARGV[4]), ARGV[2])
end
local tree = {ARGV[2]}
while #tree > 0 do
  local id = table.remove(tree)
  local task = ARGV[1] .. 'task:' .. id
  if redis.call('HGET', task, 'status') == 'open' then
    redis.call('HSET', task, 'status', 'ending', 'outcome', ARGV[3])
  end
  for _, lease in ipairs(redis.call('ZRANGEBYSCORE', task .. ':leases', '(' .. time, '+inf')) do
    table.insert(reply, lease)
  end
  for _, child in ipairs(redis.call('SMEMBERS', task .. ':children')) do
    table.insert(tree, child)
  end
end
return reply
