local A, K, stream = ARGV, KEYS, KEYS[1]
local ttl, me = A[2], A[3]
local call = redis.call
local res, k, i, added = {}, 2, 5, false
for e = 1, tonumber(A[4]) do
  local n, m = tonumber(A[i]), tonumber(A[i + 1])
  local status, mine = 1, me .. e
  if n == 1 then
    if not call('SET', K[k], mine, 'NX', 'EX', ttl) then status = 2 end
  elseif n == 2 then
    if call('EXISTS', K[k], K[k + 1]) > 0 then
      status = 2
    else
      call('SET', K[k], mine, 'EX', ttl)
      call('SET', K[k + 1], mine, 'EX', ttl)
    end
  end
  if status == 1 then
    added = true
    call('XADD', stream, '*', unpack(A, i + 2, i + 1 + m))
  elseif call('GET', K[k]) == mine then
    status = 1
  end
  res[e] = status
  k, i = k + n, i + 2 + m
end
if added then call('XTRIM', stream, 'MAXLEN', '~', A[1]) end
return res
