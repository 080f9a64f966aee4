-- Commit events: give each the next number, append it to the log and to the live set. An id seen before changes nothing.
-- KEYS epoch, log, live, ends   ARGV epoch, then id, until, event for each event
-- Returns the number of the last of the events, or nothing where the epoch is another.
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then
  return false
end
local seq = tonumber(redis.call('HGET', KEYS[1], 'seq'))
local last = 0
for i = 2, #ARGV, 3 do
  local id, ends, event = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local known = redis.call('HGET', KEYS[3], id)
  if known then
    last = math.max(last, tonumber(string.match(known, '^%d+')))
  else
    seq = seq + 1
    last = seq
    redis.call('XADD', KEYS[2], seq .. '-0', 'id', id, 'event', event)
    redis.call('HSET', KEYS[3], id, seq .. ' ' .. event)
    redis.call('ZADD', KEYS[4], ends, id)
    redis.call('HSET', KEYS[1], 'seq', seq, 'head', id)
  end
end
-- What can hit no token any more leaves the live set, a bounded number at a time, so that a commit stays short.
local over = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', '(' .. now(), 'LIMIT', 0, 100)
if #over > 0 then
  redis.call('HDEL', KEYS[3], unpack(over))
  redis.call('ZREM', KEYS[4], unpack(over))
end
redis.call('XTRIM', KEYS[2], 'MAXLEN', 10000)
return last
