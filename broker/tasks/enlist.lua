-- Note at a task that another will be opened below it by itself, wherever that one is kept. It may be repeated.
-- KEYS task, its children   ARGV id of the child
-- Returns when the task ends, in ms, or nothing where it is not open any more.
local parent = redis.call('HMGET', KEYS[1], 'status', 'ends')
if parent[1] ~= 'open' or tonumber(parent[2]) <= now() then
  return false
end
redis.call('SADD', KEYS[2], ARGV[1])
return tonumber(parent[2])
