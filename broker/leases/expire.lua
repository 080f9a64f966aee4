-- Move leases of one shard whose time is over from the live ones to the ended ones, a bounded number at a time.
-- KEYS due, ended   ARGV the most to move
-- Returns how many. Nothing is written to the leases themselves: their end stands in them, and whoever reads them compares.
local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now(), 'WITHSCORES', 'LIMIT', 0, ARGV[1])
if #over == 0 then
  return 0
end
local ended = {}
for i = 1, #over, 2 do
  ended[i], ended[i + 1] = over[i + 1], over[i]
end
redis.call('ZADD', KEYS[2], unpack(ended))
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, #over / 2 - 1)
return #over / 2
