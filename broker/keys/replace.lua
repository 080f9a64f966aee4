-- Replace the record of keys, unless somebody else did since this caller looked: compare and set.
-- KEYS keys   ARGV the record seen, '' where there was none, and the new one
-- Returns the record in force.
local current = redis.call('GET', KEYS[1]) or ''
if current ~= ARGV[1] then
  return current
end
redis.call('SET', KEYS[1], ARGV[2])
return ARGV[2]
