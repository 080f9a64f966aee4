-- Mark a task and all below it in this shard as ending: from here on no lease is issued for them. It may be repeated.
-- KEYS task, tasks
-- ARGV prefix of the shard's keys, task id, how it ends, the ms after which an unfinished ending is due, the digits of the shard
-- Returns the leases of these tasks that have not expired, the tasks right below them that are in other shards, and how it ends, which
-- may have been settled before; or nothing for an unknown task.
local before = redis.call('HGET', KEYS[1], 'status')
if not before then
  return false
end
local leases, elsewhere = {}, {}
local time = now()
if before == 'open' then
  redis.call('ZADD', KEYS[2], time + tonumber(ARGV[4]), ARGV[2])
end
local tree = {ARGV[2]}
while #tree > 0 do
  local id = table.remove(tree)
  local task = ARGV[1] .. 'task:' .. id
  local known = redis.call('HMGET', task, 'status', 'default')
  if known[1] == 'open' then
    redis.call('HSET', task, 'status', 'ending', 'outcome', ARGV[3])
    -- Nobody joins this task as a default one any more.
    if known[2] and redis.call('GET', ARGV[1] .. known[2]) == id then
      redis.call('DEL', ARGV[1] .. known[2])
    end
  end
  for _, lease in ipairs(redis.call('ZRANGEBYSCORE', task .. ':leases', '(' .. time, '+inf')) do
    table.insert(leases, lease)
  end
  for _, child in ipairs(redis.call('SMEMBERS', task .. ':children')) do
    -- The last two characters of an id are its shard.
    table.insert(string.sub(child, -2) == ARGV[5] and tree or elsewhere, child)
  end
end
return {leases, elsewhere, redis.call('HGET', KEYS[1], 'outcome')}
