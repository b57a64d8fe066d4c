local have = tonumber(redis.call('GET', KEYS[1]) or -1) or -1
if have == -1 or (have >= tonumber(ARGV[1]) and have < tonumber(ARGV[2])) then
  redis.call('SET', KEYS[1], ARGV[2])
end
return have
