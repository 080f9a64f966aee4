-- Read which worker works by which configuration. KEYS beats, working
-- Returns time, and of each worker its id, the time of its last beat, and the id of the configuration.
local reply = {now()}
local beats = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #beats, 2 do
  table.insert(reply, beats[i])
  table.insert(reply, tonumber(beats[i + 1]))
  table.insert(reply, redis.call('HGET', KEYS[2], beats[i]) or '')
end
return reply
