-- KEYS: the replay stream, the hash of the backfill, the hash of the newest events.
-- ARGV: name, fence, run of the job, number of events; then for each event its chain, the account, the
-- account's newest event or '', the number of the entry's fields and the fields.
--
-- A copier that died before it had stored the next cursor has added events of this page, of a longer
-- page, or none. Their chains are in the hash. If the ledger went back since, its events at this
-- place have other chains.
local A, K, call = ARGV, KEYS, redis.call
local fence = tonumber(A[2])
if tonumber(call('HGET', K[2], 'fence:' .. A[1]) or 0) > fence then return -1 end
local isAdded = {}
local page = call('HMGET', K[2], 'run:' .. A[1], 'page:' .. A[1])
if page[1] == A[3] then
  for chain in string.gmatch(page[2] or '', '%S+') do isAdded[chain] = true end
end
local chains, added, noted, i = {}, 0, false, 5
for e = 1, tonumber(A[4]) do
  local fields = tonumber(A[i + 3])
  chains[e] = A[i]
  if not isAdded[A[i]] then
    call('XADD', K[1], '*', unpack(A, i + 4, i + 3 + fields))
    added = added + 1
    if A[i + 2] ~= '' then
      call('HSET', K[3], A[i + 1], A[i + 2])
      noted = true
    end
  end
  i = i + 4 + fields
end
call('HSET', K[2], 'fence:' .. A[1], fence)
if noted then call('PEXPIRE', K[3], 86400000) end
if added > 0 then call('HSET', K[2], 'run:' .. A[1], A[3], 'page:' .. A[1], table.concat(chains, ' ')) end
return added
