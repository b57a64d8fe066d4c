-- KEYS: the lock, the hash of the backfill. ARGV: name, token, milliseconds.
if not redis.call('SET', KEYS[1], ARGV[2], 'NX', 'PX', ARGV[3]) then return 0 end
return redis.call('HINCRBY', KEYS[2], 'locks:' .. ARGV[1], 1)
