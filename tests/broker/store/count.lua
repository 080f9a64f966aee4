-- Count how often this ran. KEYS counter
return redis.call('INCR', KEYS[1])
