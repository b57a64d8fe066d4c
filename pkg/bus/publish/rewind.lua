local A, K = ARGV, KEYS
local call = redis.call
local have = call('HMGET', K[2], 'seq', 'chain')
if (have[1] or '') ~= A[1] or (have[2] or '') ~= A[2] then
  return {0}
end
local again = 4
if A[9] ~= '0' then
  again = 5
  if A[1] == '' and call('EXISTS', K[4]) == 1 then
    return {0}
  end
end
local marker = call('XADD', K[1], '*', 'id', A[3], 'type', A[4], 'account', A[5], 'seq', A[6], 'chain', A[7], 'data', A[8])
local markers = call('HGET', K[3], A[5])
if markers then marker = string.sub(markers, -400) .. ' ' .. marker end
call('HSET', K[3], A[5], marker)
call('PEXPIRE', K[3], 604800000)
if A[6] == '0' then
  call('DEL', K[2])
else
  call('HSET', K[2], 'seq', A[6], 'chain', A[7], unpack(A, 10))
end
for i = again, #K do
  call('DEL', K[i])
end
if A[9] ~= '0' then
  call('SET', K[4], '1', 'EX', A[9])
end
return {1}
