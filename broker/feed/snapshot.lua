-- Read everything alive at the head, everything that stands, and what is in force. KEYS epoch, live, standing, active
-- ARGV what to read of that which is in force
-- Returns time, epoch, run_id, head number, head id, when issuing opens, what is in force, then how many live events there are,
-- number and event of each as one text, and of each act its epoch, number, rank and event as one text.
local head = redis.call('HMGET', KEYS[1], 'id', 'run_id', 'seq', 'head', 'opens')
if not head[1] then
  return {now()}
end
local live = redis.call('HVALS', KEYS[2])
local reply = {now(), head[1], head[2], tonumber(head[3]), head[4], tonumber(head[5])}
table.insert(reply, redis.call('HMGET', KEYS[4], unpack(ARGV)))
table.insert(reply, #live)
for _, event in ipairs(live) do
  table.insert(reply, event)
end
for _, act in ipairs(redis.call('HVALS', KEYS[3])) do
  table.insert(reply, act)
end
return reply
