package publish

import (
	_ "embed"
	"strconv"
	"strings"

	"github.com/redroomrewards/realtime/pkg/bus"
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
//
//go:embed publish.lua
var publishSource string

// callArgs builds the arguments of one EVALSHA. Values go in as pointers where
// go-redis takes those, since a string in an interface costs an allocation each
// and a call has some ten thousand.
func (p *Publisher) callArgs(pubs []Publication, groups []int) []any {
	size, texts := argFirstKey+3, 0
	for _, i := range groups {
		g := &pubs[i].Update
		size += 3 + 6 + 4 + 1 + 18*len(g.Deliveries)
		texts += 2 + 1 + 2*len(g.Deliveries)
	}
	args := make([]any, 0, size)
	arena := make([]string, 0, texts) // never grows: the arguments point into it
	text := func(s string) *string {
		arena = append(arena, s)
		return &arena[len(arena)-1]
	}

	args = append(args, "evalsha", p.script.hash, 3*len(groups))
	for _, i := range groups {
		g := &pubs[i].Update
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
	g := &pub.Update
	last := &g.Deliveries[len(g.Deliveries)-1].Seq
	var base any = "0"
	if pub.AsStartingPoint {
		base = "1"
	}
	args = append(args, &g.Account, &g.Key, &g.Deliveries[0].Seq, last, base, nil)
	length := len(args) // its place is the last nil
	args = append(args, text(g.Balance.UpdatedAt.UTC().Format(bus.TimeFormat)))
	if strings.HasPrefix(g.Account, "model:") {
		args = append(args, 1, &g.Balance.Earned)
	} else {
		args = append(args, 2, &g.Balance.Available, &g.Balance.Escrow)
	}
	args = append(args, len(g.Deliveries))
	for i := range g.Deliveries {
		args = streamentry.AppendDelivery(args, &g.Deliveries[i], text)
	}
	args[length-1] = len(args) - length
	return args
}

// partitionNames are the beginnings of a partition's keys.
type partitionNames struct{ stream, balance, dedup string }

func namesOf(keys bus.Keys) []partitionNames {
	names := make([]partitionNames, keys.Partitions)
	for i := range names {
		tag := keys.Namespace + ":{" + strconv.Itoa(i) + "}"
		names[i] = partitionNames{stream: keys.Stream(i), balance: tag + ":balance:", dedup: keys.Dedup(i, "")}
	}
	return names
}
