-- Write one audit record by itself.
-- KEYS audit   ARGV audit record
return redis.call('XADD', KEYS[1], '*', 'time', now(), 'record', ARGV[1])
