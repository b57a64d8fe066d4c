local A, K = ARGV, KEYS
local call = redis.call
local have = call('HMGET', K[2], 'seq', 'chain')
if (have[1] or '') ~= A[1] or (have[2] or '') ~= A[2] then
  return {0}
end
call('XADD', K[1], '*', 'id', A[3], 'type', A[4], 'account', A[5], 'seq', A[6], 'chain', A[7], 'data', A[8])
if A[6] == '0' then
  call('DEL', K[2])
else
  call('HSET', K[2], 'seq', A[6], 'chain', A[7], unpack(A, 9))
end
for i = 3, #K do
  call('DEL', K[i])
end
return {1}
