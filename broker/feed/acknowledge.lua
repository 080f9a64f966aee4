-- Take one acknowledgement: the process was heard, and its place moves up where the log holds the place that it names.
-- KEYS epoch, log, verifiers, heard
-- ARGV process, epoch, number, id, as_of, version, 1 where it leaves, the most processes, the silence after which one is gone,
-- the ms for which it has been at this place already, and the constraints that it enforces
-- Returns 1 where the place counts; 0 where it is of another epoch, ahead of the head, or not of this log; -1 if there are too many.
local time = now()
local process, epoch, seq = ARGV[1], ARGV[2], tonumber(ARGV[3])
local function forget(processes)
  if #processes > 0 then
    redis.call('HDEL', KEYS[3], unpack(processes))
    redis.call('ZREM', KEYS[4], unpack(processes))
  end
end
forget(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', time - tonumber(ARGV[9]), 'LIMIT', 0, 100))
if ARGV[7] == '1' then
  forget({process})
  return 1
end
local known = redis.call('HGET', KEYS[3], process)
if not known and redis.call('HLEN', KEYS[3]) >= tonumber(ARGV[8]) then
  return -1
end
-- Whoever could name a place that is still to come would seem to enforce what nobody has revoked yet.
local function is_of_this_log()
  local head = redis.call('HMGET', KEYS[1], 'id', 'seq', 'head')
  local last = tonumber(head[2] or '-1')
  if epoch ~= head[1] or seq >= last then
    return epoch == head[1] and seq == last and ARGV[4] == head[3]
  end
  local entry = redis.call('XRANGE', KEYS[2], ARGV[3] .. '-0', ARGV[3] .. '-0')[1]
  -- What was trimmed away is thousands of places behind the head.
  return not entry or entry[2][2] == ARGV[4]
end
local at_epoch, at, as_of, first, moves = '-', '-1', '0', time, ''
if known then
  at_epoch, at, as_of, first, moves = string.match(known, '^%S+ (%S+) (%S+) (%d+) (%d+) %d+ %S+ (%S*)')
end
local counts = is_of_this_log()
if counts then
  if epoch ~= at_epoch then
    at_epoch, at, moves = epoch, '-1', ''
  end
  if seq > tonumber(at) then
    at = ARGV[3]
    moves = moves .. (moves == '' and '' or ',') .. at .. ':' .. time - ARGV[10]
    local _, commas = string.gsub(moves, ',', '')
    if commas >= 32 then
      moves = string.match(moves, ',(.*)')
    end
  end
  as_of = math.max(tonumber(as_of), math.min(tonumber(ARGV[5]), time))
end
local row = {process, at_epoch, at, as_of, first, time, ARGV[6], moves, ARGV[11]}
redis.call('HSET', KEYS[3], process, table.concat(row, ' '))
redis.call('ZADD', KEYS[4], time, process)
-- A broom, for audiences of which nobody is heard any more.
redis.call('PEXPIRE', KEYS[3], 2 * tonumber(ARGV[9]))
redis.call('PEXPIRE', KEYS[4], 2 * tonumber(ARGV[9]))
return counts and 1 or 0
