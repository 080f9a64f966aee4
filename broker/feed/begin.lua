-- Begin a new epoch, unless somebody else did since this caller looked: compare and set.
-- KEYS epoch, log, live, ends   ARGV the epoch seen, the new epoch, the server's run_id
-- Returns the epoch in force. Whatever an earlier epoch ended needs no event any more: all its tokens are void.
local current = redis.call('HGET', KEYS[1], 'id') or ''
if current ~= ARGV[1] then
  return current
end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
redis.call('HSET', KEYS[1], 'id', ARGV[2], 'run_id', ARGV[3], 'seq', 0, 'head', 'evt_' .. ARGV[2])
return ARGV[2]
