-- KEYS: the hash of the backfill. ARGV: name, fence, the seam's id, the number of entries up to it,
-- and the time before which all transactions were published before it, or ''.
if tonumber(redis.call('HGET', KEYS[1], 'fence:' .. ARGV[1]) or 0) > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'fence:' .. ARGV[1], ARGV[2], 'seam:' .. ARGV[1], ARGV[3], 'added:' .. ARGV[1], ARGV[4],
  'relayed:' .. ARGV[1], ARGV[5])
return 1
