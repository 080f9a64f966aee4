-- Write, and leave nothing. KEYS one of the slot that was written to
-- WAIT confirms what the connection wrote; a script that ran before, and had nothing left to do, wrote nothing.
redis.call('SET', KEYS[1], '')
redis.call('DEL', KEYS[1])
