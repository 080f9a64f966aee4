-- Read everything alive at the head. KEYS epoch, live
-- Returns time, epoch, run_id, head number, head id, then number and event of each live event as one text.
local head = redis.call('HMGET', KEYS[1], 'id', 'run_id', 'seq', 'head')
if not head[1] then
  return {now()}
end
local reply = {now(), head[1], head[2], tonumber(head[3]), head[4]}
for _, event in ipairs(redis.call('HVALS', KEYS[2])) do
  table.insert(reply, event)
end
return reply
