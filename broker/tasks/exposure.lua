-- Read what a tree of tasks was given to read. KEYS root task
-- Returns when the root ends (ms), or nothing where there is none; then the names of what was read.
local ends = redis.call('HGET', KEYS[1], 'ends')
if not ends then
  return false
end
local reply = {tonumber(ends)}
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  if name == 'tainted' or string.match(name, '^label:') then
    table.insert(reply, name)
  end
end
return reply
