-- Count one use of a lease, and record it, or do neither. A use that was counted before counts nothing and is told the same again.
-- KEYS leases, the lease's uses, audit
-- ARGV lease id, the use's id, the most uses, the ms at which its token expires, audit record
-- Returns 'used', or why not: 'already_used', 'expired', 'ended'.
local time = now()
local issued, life, status = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%d+) (%d+) (%a+) ')
-- A lease that nobody knows any more ended minutes ago, if it did not expire.
if (issued and (issued + life) * 1000 or tonumber(ARGV[4])) <= time then
  return 'expired'
end
if status ~= 'live' then
  return 'ended'
end
if redis.call('SISMEMBER', KEYS[2], ARGV[2]) == 1 then
  return 'used'
end
if redis.call('SCARD', KEYS[2]) >= tonumber(ARGV[3]) then
  return 'already_used'
end
redis.call('SADD', KEYS[2], ARGV[2])
-- A broom, for long after the last moment at which the lease could be live: none lives longer than an hour.
redis.call('PEXPIRE', KEYS[2], 7200000)
redis.call('XADD', KEYS[3], '*', 'time', time, 'record', ARGV[5])
return 'used'
