-- KEYS: the lock. ARGV: token. The lock ends at once.
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], 1) end
return 0
