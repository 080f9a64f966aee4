-- Commit events: give each the next number, append it to the log and to the live set. An id seen before changes nothing.
-- KEYS epoch, log, live, ends, standing, and active where the events are of one configuration
-- ARGV epoch, where there is the last key the id of that configuration, then for each event its id, until, the event, and of a
-- standing act its target, its rank, and the epoch and the number of its origin; all four are '' for other events, the last two for
-- an act that is new.
-- Returns the number of the last of the events, or nothing where the epoch is another; 0 where what stands overtakes all of them,
-- -1 where another configuration is in force.
local head = redis.call('HMGET', KEYS[1], 'id', 'seq', 'head')
if head[1] ~= ARGV[1] then
  return false
end
local first = 2
if KEYS[6] then
  first = 3
  if redis.call('HGET', KEYS[6], 'id') ~= ARGV[2] then
    return -1
  end
end
local seq, last = tonumber(head[2]), 0
-- The rank of a retirement (acts.py), which holds against whatever is not one, whenever that came.
local FINAL = 6
local function is_overtaken(target, epoch, number, rank)
  local known = redis.call('HGET', KEYS[5], target)
  if not known then
    return false
  end
  local known_epoch, known_number, known_rank = string.match(known, '^(%S+) (%d+) (%d+) ')
  known_rank = tonumber(known_rank)
  if known_rank ~= rank and math.max(known_rank, rank) == FINAL then
    return known_rank == FINAL
  end
  if known_epoch ~= epoch then
    return known_epoch > epoch
  end
  if tonumber(known_number) ~= number then
    return tonumber(known_number) > number
  end
  return known_rank > rank
end
for i = first, #ARGV, 7 do
  local id, ends, event, target, rank = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], tonumber(ARGV[i + 4])
  local origin, number = ARGV[i + 5], tonumber(ARGV[i + 6])
  if origin == '' then
    origin, number = ARGV[1], seq + 1
  end
  local known = redis.call('HGET', KEYS[3], id)
  if known then
    last = math.max(last, tonumber(string.match(known, '^%d+')))
  elseif target == '' or not is_overtaken(target, origin, number, rank) then
    seq = seq + 1
    last = seq
    redis.call('XADD', KEYS[2], seq .. '-0', 'id', id, 'event', event, 'time', now())
    redis.call('HSET', KEYS[3], id, seq .. ' ' .. event)
    redis.call('ZADD', KEYS[4], ends, id)
    if target ~= '' then
      redis.call('HSET', KEYS[5], target, origin .. ' ' .. number .. ' ' .. rank .. ' ' .. event)
    end
    head[3] = id
  end
end
-- Written also where nothing is new: whoever asks again waits for replicas to confirm a write, and none would be confirmed.
redis.call('HSET', KEYS[1], 'seq', seq, 'head', head[3])
-- What can hit no token any more leaves the live set, a bounded number at a time, so that a commit stays short.
local over = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', '(' .. now(), 'LIMIT', 0, 100)
if #over > 0 then
  redis.call('HDEL', KEYS[3], unpack(over))
  redis.call('ZREM', KEYS[4], unpack(over))
end
redis.call('XTRIM', KEYS[2], 'MAXLEN', 10000)
return last
