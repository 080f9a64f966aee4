-- Keep house in one shard: for a while nobody else does, unless this worker leaves off or dies.
-- KEYS keeper, settled   ARGV the worker, how many ms the claim holds
-- Returns up to where the shard is settled ('' where nobody knows), or nothing where another worker keeps it.
local keeper = redis.call('GET', KEYS[1])
if keeper and keeper ~= ARGV[1] then
  return false
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return redis.call('GET', KEYS[2]) or ''
