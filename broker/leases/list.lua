-- Read leases of one shard: by rank in an index, by id, or those that follow a lease in an index of times.
-- KEYS index, leases, class   ARGV prefix of the shard's keys, then one of
--   first rank, last rank (inclusive) · '-', lease ids … · '>', the lease it goes on after, that one's score, the most to read
-- Without a lease to go on after, it begins with the first whose time is not over.
-- Returns the time, then for each lease its id, its text, of its task the agent, the workload, the path, the user and by what lease
-- it was delegated, and its class.
local function next_rank(index, id, score)
  local rank = redis.call('ZRANK', index, id)
  if rank then
    return rank + 1
  end
  -- It is gone meanwhile. Those of its very moment come again, rather than that one of them is left out.
  return redis.call('ZCOUNT', index, '-inf', score == '' and now() or '(' .. score)
end
local ids = {}
if ARGV[2] == '-' then
  for i = 3, #ARGV do
    table.insert(ids, ARGV[i])
  end
elseif ARGV[2] == '>' then
  local first = next_rank(KEYS[1], ARGV[3], ARGV[4])
  ids = redis.call('ZRANGE', KEYS[1], first, first + ARGV[5] - 1)
else
  ids = redis.call('ZRANGE', KEYS[1], ARGV[2], ARGV[3])
end
local reply = {now()}
for _, id in ipairs(ids) do
  local lease = redis.call('HGET', KEYS[2], id)
  if lease then
    local id_of_task, class = string.match(lease, '^%d+ %d+ %a+ (%S+) (%S+) ')
    local names = {'agent', 'workload', 'path', 'user', 'delegation'}
    local task = redis.call('HMGET', ARGV[1] .. 'task:' .. id_of_task, unpack(names))
    local known = redis.call('HGET', KEYS[3], class) or ''
    for _, part in ipairs({id, lease, task[1] or '', task[2] or '', task[3] or '[]', task[4] or '', task[5] or 'null', known}) do
      table.insert(reply, part)
    end
  end
end
return reply
