-- Record a refusal and count it among the agent's recent ones. KEYS audit, refusals
-- ARGV audit record, the ms for which a refusal is recent, the most to keep
local time = now()
local id = redis.call('XADD', KEYS[1], '*', 'time', time, 'record', ARGV[1])
redis.call('ZADD', KEYS[2], time, id)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', time - tonumber(ARGV[2]))
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -tonumber(ARGV[3]) - 1)
redis.call('PEXPIRE', KEYS[2], ARGV[2])
