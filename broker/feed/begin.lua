-- Begin a new epoch, unless somebody else did since this caller looked: compare and set.
-- KEYS epoch, log, live, ends, standing
-- ARGV the epoch seen, the new epoch, the server's run_id, the ms for which nothing is issued, and of an act that stands from the
-- beginning its target and its epoch, number, rank and event as one text; both '' where there is none
-- Returns the epoch in force. Whatever an earlier epoch ended needs no event any more: all its tokens are void. What stands
-- goes on standing, and workers that know of more than this store add it while nothing is issued.
local current = redis.call('HGET', KEYS[1], 'id') or ''
if current ~= ARGV[1] then
  return current
end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
local opens = now() + tonumber(ARGV[4])
redis.call('HSET', KEYS[1], 'id', ARGV[2], 'run_id', ARGV[3], 'seq', 0, 'head', 'evt_' .. ARGV[2], 'opens', opens)
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[5], ARGV[5], ARGV[6])
end
return ARGV[2]
