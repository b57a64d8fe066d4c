-- KEYS: the lock, the hash of the backfill. ARGV: name, token, milliseconds, state.
if redis.call('GET', KEYS[1]) ~= ARGV[2] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[2], 'job:' .. ARGV[1], ARGV[4]) end
return 1
