local A, K = ARGV, KEYS
local maxlen, ttl = A[1], A[2]
local call, pcall = redis.call, redis.pcall
local res, r, i = {}, 1, 4
for g = 1, tonumber(A[3]) do
  local stream, hash = K[3 * g - 2], K[3 * g - 1]
  local first, last = tonumber(A[i + 2]), tonumber(A[i + 3])
  local have = pcall('HMGET', hash, 'seq', 'chain')
  local status, seq
  if have.err then
    status, seq = 5, -1
  else
    seq = have[1] and tonumber(have[1]) or -1
    if seq > last then
      status = 2
    elseif seq == last then
      status = have[2] == A[i + 8] and 2 or 6
    elseif seq >= first then
      status = 4
    elseif first > seq + 1 and (seq ~= -1 or (first ~= 1 and A[i + 4] == '0')) then
      status = 3
    elseif seq ~= -1 and have[2] ~= A[i + 5] then
      status = 6
    else
      local body = i + 7
      local balances = tonumber(A[body + 2])
      status = 2
      if call('SET', K[3 * g], '1', 'NX', 'EX', ttl) then
        status = 1
        local account, key = A[i], A[i + 1]
        local d = body + balances + 4
        local add = pcall
        for _ = 1, tonumber(A[d - 1]) do
          local shape, added = A[d + 4]
          if shape == '0' then
            added = add('XADD', stream, '*', 'id', A[d], 'type', A[d + 1], 'account', account, 'seq', A[d + 2], 'chain', A[d + 3], 'key', key,
              'amount', A[d + 5], 'reason', A[d + 6], 'feature', A[d + 7], 'data', A[d + 8])
            d = d + 9
          elseif shape == '1' then
            added = add('XADD', stream, '*', 'id', A[d], 'type', A[d + 1], 'account', account, 'seq', A[d + 2], 'chain', A[d + 3], 'key', key,
              'amount', A[d + 5], 'reason', A[d + 6], 'data', A[d + 7])
            d = d + 8
          else
            local stop = d + 4 + tonumber(shape)
            added = add('XADD', stream, '*', 'id', A[d], 'type', A[d + 1], 'account', account, 'seq', A[d + 2], 'chain', A[d + 3], 'key', key,
              unpack(A, d + 5, stop))
            d = stop + 1
          end
          if add == pcall then
            if type(added) == 'table' then
              call('DEL', K[3 * g])
              if not string.find(added.err, 'WRONGTYPE', 1, true) then
                return added
              end
              status, seq = 0, -1
              break
            end
            add = call
          end
        end
      end
      if status == 0 then
        -- nothing was written
      elseif balances == 2 then
        call('HSET', hash, 'available', A[body + 3], 'escrow', A[body + 4], 'seq', A[i + 3],
          'chain', A[body + 1], 'updatedAt', A[body])
      else
        call('HSET', hash, 'earned', A[body + 3], 'seq', A[i + 3], 'chain', A[body + 1], 'updatedAt', A[body])
      end
    end
  end
  res[r], res[r + 1] = status, seq
  r = r + 2
  i = i + 7 + tonumber(A[i + 6])
end
pcall('XTRIM', K[1], 'MAXLEN', '~', maxlen)
return res
