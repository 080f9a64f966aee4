-- Return the secret that all workers share; the first one that asks makes it. KEYS nonces   ARGV the secret to begin with
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
