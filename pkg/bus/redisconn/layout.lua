if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'partitions', ARGV[1], 'tags', ARGV[2], 'version', ARGV[3])
end
return 0
