package bus

import (
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
)

// publishSource writes groups. It is told everything by flat arguments, so that Lua
// builds nothing but the argument lists of its calls.
//
//	KEYS  for each group: stream, balance hash, dedup key
//	ARGV  maxlen, ttl in seconds, groups; then for each group:
//	      account, key, first seq, last seq, base (0 or 1),
//	      number of arguments of this group that follow the next one,
//	      updatedAt, n, n balances (1: earned, 2: available and escrow),
//	      deliveries, and for each delivery: id, type, seq, shape, then
//	        shape 0: amount, reason, feature, data
//	        shape 1: amount, reason, data
//	        else it is how many fields and values follow
//
// Redis pays for each argument three times, on the wire and on its ways into Lua and
// out of it; hence the shapes, which leave out the names of nearly all events' fields.
//
// It answers two integers for each group: a Status and the account's seq before
// the call (-1: none). Unknown says that the group's stream is no stream.
//
// What can fail fails before a group's first entry: HGET complains of a key that holds
// something else, the first XADD of a stream that is none (then the dedup key goes
// again), and Redis refuses writes for lack of memory at the first of them. So a group
// is written whole or not at all. A call trims the stream of its first group, after all
// else: groups come first by chance, so each stream has its turn, in proportion to
// what comes in. A stream has thus about maxlen entries and those of some calls.
//
// The hash gets, besides seq and the balances of its account's type, updatedAt in
// bus.TimeFormat: RFC 3339, milliseconds, UTC.
const publishSource = `
local A, K = ARGV, KEYS
local maxlen, ttl = A[1], A[2]
local call, pcall = redis.call, redis.pcall
local res, r, i = {}, 1, 4
for g = 1, tonumber(A[3]) do
  local stream, hash = K[3 * g - 2], K[3 * g - 1]
  local first, last = tonumber(A[i + 2]), tonumber(A[i + 3])
  local have = pcall('HGET', hash, 'seq')
  local status, seq
  if type(have) == 'table' then
    status, seq = 5, -1
  else
    seq = have and tonumber(have) or -1
    if seq >= last then
      status = 2
    elseif seq >= first then
      status = 4
    elseif first > seq + 1 and (seq ~= -1 or (first ~= 1 and A[i + 4] == '0')) then
      status = 3
    else
      local body = i + 6
      local balances = tonumber(A[body + 1])
      status = 2
      if call('SET', K[3 * g], '1', 'NX', 'EX', ttl) then
        status = 1
        local account, key = A[i], A[i + 1]
        local d = body + balances + 3
        local add = pcall
        for _ = 1, tonumber(A[d - 1]) do
          local shape, added = A[d + 3]
          if shape == '0' then
            added = add('XADD', stream, '*', 'id', A[d], 'type', A[d + 1], 'account', account, 'seq', A[d + 2], 'key', key,
              'amount', A[d + 4], 'reason', A[d + 5], 'feature', A[d + 6], 'data', A[d + 7])
            d = d + 8
          elseif shape == '1' then
            added = add('XADD', stream, '*', 'id', A[d], 'type', A[d + 1], 'account', account, 'seq', A[d + 2], 'key', key,
              'amount', A[d + 4], 'reason', A[d + 5], 'data', A[d + 6])
            d = d + 7
          else
            local stop = d + 3 + tonumber(shape)
            added = add('XADD', stream, '*', 'id', A[d], 'type', A[d + 1], 'account', account, 'seq', A[d + 2], 'key', key,
              unpack(A, d + 4, stop))
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
        call('HSET', hash, 'available', A[body + 2], 'escrow', A[body + 3], 'seq', A[i + 3], 'updatedAt', A[body])
      else
        call('HSET', hash, 'earned', A[body + 2], 'seq', A[i + 3], 'updatedAt', A[body])
      end
    end
  end
  res[r], res[r + 1] = status, seq
  r = r + 2
  i = i + 6 + tonumber(A[i + 5])
end
pcall('XTRIM', K[1], 'MAXLEN', '~', maxlen)
return res
`

// The arguments of EVALSHA before the first group's: evalsha, sha, number of
// keys, keys; then maxlen, ttl, groups.
const (
	argName = iota
	argScript
	argNumKeys
	argFirstKey
)

// scriptCall is one EVALSHA: groups in the order given.
type scriptCall struct {
	groups []int // their places among the publications
	cmd    *redis.IntSliceCmd
	args   []any
}

// callArgs builds the arguments of one EVALSHA. Values go in as pointers where
// go-redis takes those, since a string in an interface costs an allocation each
// and a call has some ten thousand.
func (p *Publisher) callArgs(pubs []Publication, groups []int) []any {
	size, texts := argFirstKey+3, 0
	for _, i := range groups {
		g := &pubs[i].Group
		size += 3 + 6 + 4 + 1 + 18*len(g.Deliveries)
		texts += 2 + 1 + 2*len(g.Deliveries)
	}
	args := make([]any, 0, size)
	arena := make([]string, 0, texts) // never grows: the arguments point into it
	text := func(s string) *string {
		arena = append(arena, s)
		return &arena[len(arena)-1]
	}

	args = append(args, "evalsha", p.sha, 3*len(groups))
	for _, i := range groups {
		g := &pubs[i].Group
		names := &p.names[p.cfg.Keys.Partition(g.Account)]
		args = append(args, &names.stream, text(names.balance+g.Account), text(names.dedup+g.Key))
	}
	args = append(args, p.cfg.MaxLen, p.ttlSeconds, len(groups))
	for _, i := range groups {
		args = appendGroup(args, &pubs[i], text)
	}
	return args
}

func appendGroup(args []any, pub *Publication, text func(string) *string) []any {
	g := &pub.Group
	last := &g.Deliveries[len(g.Deliveries)-1].Seq
	var base any = "0"
	if pub.Base {
		base = "1"
	}
	args = append(args, &g.Account, &g.Key, &g.Deliveries[0].Seq, last, base, nil)
	length := len(args) // its place is the last nil
	args = append(args, text(g.Balance.UpdatedAt.UTC().Format(TimeFormat)))
	if strings.HasPrefix(g.Account, "model:") {
		args = append(args, 1, &g.Balance.Earned)
	} else {
		args = append(args, 2, &g.Balance.Available, &g.Balance.Escrow)
	}
	args = append(args, len(g.Deliveries))
	for i := range g.Deliveries {
		args = appendDelivery(args, &g.Deliveries[i], text)
	}
	args[length-1] = len(args) - length
	return args
}

func appendDelivery(args []any, d *Delivery, text func(string) *string) []any {
	args = append(args, &d.ID, &d.Type, &d.Seq, nil)
	shape, data := len(args), text(streamentry.Text(d.Data)) // shape's place is the last nil
	if d.Amount != 0 && d.Reason != "" && d.View == nil && !d.Copy && d.TraceParent == "" {
		if d.Feature != "" {
			args[shape-1] = 0
			return append(args, &d.Amount, &d.Reason, &d.Feature, data)
		}
		args[shape-1] = 1
		return append(args, &d.Amount, &d.Reason, data)
	}
	if d.Amount != 0 {
		args = append(args, "amount", &d.Amount)
	}
	if d.Reason != "" {
		args = append(args, "reason", &d.Reason)
	}
	if d.Feature != "" {
		args = append(args, "feature", &d.Feature)
	}
	args = append(args, "data", data)
	if d.View != nil {
		args = append(args, "view", text(streamentry.Text(d.View)))
	}
	if d.Copy {
		args = append(args, "copy", "1")
	}
	if d.TraceParent != "" {
		args = append(args, "traceparent", &d.TraceParent)
	}
	args[shape-1] = len(args) - shape // 2 at least
	return args
}

// partitionNames are the beginnings of a partition's keys.
type partitionNames struct{ stream, balance, dedup string }

func namesOf(keys Keys) []partitionNames {
	names := make([]partitionNames, keys.Partitions)
	for i := range names {
		tag := keys.Namespace + ":{" + strconv.Itoa(i) + "}"
		names[i] = partitionNames{stream: keys.Stream(i), balance: tag + ":balance:", dedup: keys.Dedup(i, "")}
	}
	return names
}
