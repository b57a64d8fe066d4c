-- KEYS: the replay stream, the hash of the backfill, the hash of the newest events.
-- ARGV: name, fence, start of the page, number of events; then for each event the account, its
-- newest event or '', the number of the entry's fields and the fields.
local A, K, call = ARGV, KEYS, redis.call
local fence = tonumber(A[2])
if tonumber(call('HGET', K[2], 'fence:' .. A[1]) or 0) > fence then return -1 end
local skip = 0
if call('HGET', K[2], 'page:' .. A[1]) == A[3] then
  skip = tonumber(call('HGET', K[2], 'count:' .. A[1]))
end
local n, i, noted = tonumber(A[4]), 5, false
for e = 1, n do
  local fields = tonumber(A[i + 2])
  if e > skip then
    call('XADD', K[1], '*', unpack(A, i + 3, i + 2 + fields))
    if A[i + 1] ~= '' then
      call('HSET', K[3], A[i], A[i + 1])
      noted = true
    end
  end
  i = i + 3 + fields
end
if noted then call('PEXPIRE', K[3], 86400000) end
call('HSET', K[2], 'fence:' .. A[1], fence, 'page:' .. A[1], A[3], 'count:' .. A[1], math.max(skip, n))
return math.max(0, n - skip)
