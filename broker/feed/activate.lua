-- Put a configuration into force, unless another was since this caller looked: compare and set. The same twice changes nothing.
-- KEYS epoch, log, active
-- ARGV epoch, the id that has to be in force now ('' for none), the new id, event, what is kept: origin, digest and signed text
-- Returns nothing where the epoch is another; else the id in force now, and the epoch and number at which it came.
local head = redis.call('HMGET', KEYS[1], 'id', 'seq')
if head[1] ~= ARGV[1] then
  return false
end
local known = redis.call('HGET', KEYS[3], 'id') or ''
if known == ARGV[2] and known ~= ARGV[3] then
  local seq = tonumber(head[2])
  -- The first one takes nothing away from anybody, so it is no event.
  if known ~= '' then
    seq = seq + 1
    redis.call('XADD', KEYS[2], seq .. '-0', 'id', ARGV[3], 'event', ARGV[4], 'time', now())
    redis.call('HSET', KEYS[1], 'seq', seq, 'head', ARGV[3])
    redis.call('XTRIM', KEYS[2], 'MAXLEN', 10000)
  end
  local kept = {'id', ARGV[3], 'origin', ARGV[5], 'digest', ARGV[6], 'text', ARGV[7], 'epoch', head[1], 'seq', seq}
  redis.call('HSET', KEYS[3], unpack(kept))
else
  -- Written also where nothing is new: whoever asks again waits for replicas to confirm a write, and none would be confirmed.
  redis.call('HSET', KEYS[1], 'seq', head[2])
end
return redis.call('HMGET', KEYS[3], 'id', 'epoch', 'seq')
