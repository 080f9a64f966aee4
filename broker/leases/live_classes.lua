-- Read the decision classes of one shard that still have a live lease, from a place on, the latest to expire first.
-- KEYS classes, class   ARGV how many to leave out, the most to read
-- Returns how many there are, then of each its id, the latest expiry (ms) of its leases, and its text.
local time = now()
local reply = {redis.call('ZCOUNT', KEYS[1], '(' .. time, '+inf')}
local live = redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', '(' .. time, 'WITHSCORES', 'LIMIT', ARGV[1], ARGV[2])
for i = 1, #live, 2 do
  table.insert(reply, live[i])
  table.insert(reply, live[i + 1])
  table.insert(reply, redis.call('HGET', KEYS[2], live[i]) or '')
end
return reply
