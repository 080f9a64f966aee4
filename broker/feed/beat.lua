-- Write a worker's beat and read, in the same step, what it vouches for: the time, the head, and the events up to it.
-- KEYS epoch, log, beats, working
-- ARGV worker, the number and the id where the worker stands, the most events to return, the id of the configuration it works by
-- Returns time, epoch, run_id, head number, head id, when issuing opens, standing, and the events as number, event, …
-- Standing is 1 where the log holds the worker's place, 0 where that is trimmed away, -1 where another stands there or the end is lost.
local time = now()
redis.call('ZADD', KEYS[3], time, ARGV[1])
redis.call('HSET', KEYS[4], ARGV[1], ARGV[5])
local silent = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', time - 60000)
if #silent > 0 then
  redis.call('ZREM', KEYS[3], unpack(silent))
  redis.call('HDEL', KEYS[4], unpack(silent))
end
local head = redis.call('HMGET', KEYS[1], 'id', 'run_id', 'seq', 'head', 'opens')
if not head[1] then
  return {time}
end
local seq, mine = tonumber(head[3]), tonumber(ARGV[2])
local function id_at(number)
  local entry = redis.call('XRANGE', KEYS[2], number .. '-0', number .. '-0')[1]
  return entry and entry[2][2]
end
local standing = -1
if seq > 0 and id_at(seq) ~= head[4] then
  -- The end of the log is never trimmed. It is lost, and with it events that somebody may not have read.
  standing = -1
elseif mine == seq then
  standing = head[4] == ARGV[3] and 1 or -1
elseif mine == 0 and ARGV[3] == 'evt_' .. head[1] then
  -- Nothing ever stands at the start of an epoch, so it is the entry after it that must not have been trimmed away.
  standing = id_at(1) and 1 or 0
elseif mine > 0 and mine < seq then
  local id = id_at(mine)
  standing = id and (id == ARGV[3] and 1 or -1) or 0
end
local reply = {time, head[1], head[2], seq, head[4], tonumber(head[5]), standing}
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '(' .. mine .. '-0', '+', 'COUNT', ARGV[4])) do
  table.insert(reply, tonumber(string.match(entry[1], '^%d+')))
  table.insert(reply, entry[2][4])
end
return reply
