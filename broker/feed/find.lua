-- Read where the log stands, and one event while it can still end a token. KEYS epoch, log, live   ARGV id
-- Returns time, epoch and head number; and, where the event is known, its number and event as one text, and when it was committed.
local time = now()
local head = redis.call('HMGET', KEYS[1], 'id', 'seq')
if not head[1] then
  return {time}
end
local known = redis.call('HGET', KEYS[3], ARGV[1])
if not known then
  return {time, head[1], tonumber(head[2])}
end
local place = string.match(known, '^%d+') .. '-0'
-- Where the event was trimmed away, the oldest that is left was committed after it. Too late is on the safe side.
local entry = redis.call('XRANGE', KEYS[2], place, place)[1] or redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
return {time, head[1], tonumber(head[2]), known, tonumber(entry and entry[2][6] or time)}
