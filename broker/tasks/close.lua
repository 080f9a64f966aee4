-- Close a task that is ending, and all below it in this shard, once its end has been committed. It may be repeated.
-- KEYS tasks, closed, audit   ARGV prefix of the shard's keys, task id, audit record, the digits of the shard
-- Returns how many tasks it closed.
local closed = 0
local tree = {ARGV[2]}
while #tree > 0 do
  local id = table.remove(tree)
  local task = ARGV[1] .. 'task:' .. id
  if redis.call('HGET', task, 'status') == 'ending' then
    if id == ARGV[2] then
      redis.call('XADD', KEYS[3], '*', 'time', now(), 'record', ARGV[3])
    end
    redis.call('HSET', task, 'status', redis.call('HGET', task, 'outcome'), 'ended', now())
    closed = closed + 1
  end
  redis.call('ZREM', KEYS[1], id)
  redis.call('ZADD', KEYS[2], 'NX', now(), id)
  for _, child in ipairs(redis.call('SMEMBERS', task .. ':children')) do
    if string.sub(child, -2) == ARGV[4] then
      table.insert(tree, child)
    end
  end
end
return closed
