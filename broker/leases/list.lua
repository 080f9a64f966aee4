-- Read leases of one shard by an index, or by id where the index is '-'.
-- KEYS index   ARGV prefix of the shard's keys, first, last (ranks, inclusive) or lease ids after '-'
-- Returns the time, then for each lease its id, its text and of its task the agent, the workload and the path.
local ids = {}
if ARGV[2] == '-' then
  for i = 3, #ARGV do
    table.insert(ids, ARGV[i])
  end
else
  ids = redis.call('ZRANGE', KEYS[1], ARGV[2], ARGV[3])
end
local reply = {now()}
for _, id in ipairs(ids) do
  local lease = redis.call('GET', ARGV[1] .. 'lease:' .. id)
  if lease then
    local body = string.match(lease, '^%d+ %d+ %a+ (.*)$')
    local task = redis.call('HMGET', ARGV[1] .. 'task:' .. cjson.decode(body).task, 'agent', 'workload', 'path')
    for _, part in ipairs({id, lease, task[1] or '', task[2] or '', task[3] or '[]'}) do
      table.insert(reply, part)
    end
  end
end
return reply
