package publish

import (
	_ "embed"
	"strings"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
)

// publishSource writes account updates. It takes flat arguments, so that Lua only has to build the
// argument lists of its calls.
//
//	KEYS  for each update: stream, balance hash, dedup key
//	ARGV  maxlen, ttl in seconds, number of updates; then for each update:
//	      account, key, first seq, last seq, starting point (0 or 1), chain before the first seq,
//	      number of the following arguments of this update,
//	      updatedAt, chain, n, n balances (1: earned, 2: available and escrow),
//	      number of deliveries, and for each delivery: id, type, seq, chain, shape, then
//	        shape 0: amount, reason, feature, data
//	        shape 1: amount, reason, data
//	        otherwise the shape is the number of fields and values that follow
//
// Redis copies each argument three times: from the wire, into Lua and out of it. The two shapes
// leave out the field names of nearly all events.
//
// It returns two integers for each update: a Status and the account's seq before the call (-1:
// none). The status Unknown means that the key of the update's stream holds another type.
//
// The script writes an update only if it continues the history in the hash: the hash must have the
// seq and the chain of the event before the update's first one. A repeat of the newest update must
// have the chain of the hash, too. Otherwise the status is Forked.
//
// All steps that can fail come before an update's first entry is added: HMGET fails if the balance
// key is not a hash, the first XADD fails if the stream's key is not a stream (the dedup key is
// then deleted), and Redis refuses the first write if it is out of memory. An update is therefore
// written completely or not at all.
//
// A call ends by trimming the stream of its first update. Any update can be the first one, so each
// stream is trimmed in proportion to its new entries. A stream therefore has about maxlen entries
// plus those of some calls.
//
// The hash gets seq, chain, the balances of the account's type, and updatedAt in bus.TimeFormat.
//
//go:embed publish.lua
var publishSource string

// buildArgs returns the arguments of one EVALSHA for some of the publications. Values are pointers
// where go-redis accepts them: a string in an interface costs an allocation, and a call has about
// ten thousand of them.
func (p *Publisher) buildArgs(pubs []Publication, items []int) []any {
	size := argFirstKey + 3
	textCount := 0
	chainCount := 0
	for _, i := range items {
		deliveries := len(pubs[i].Update.Deliveries)
		size += 3 + 7 + 5 + 1 + 19*deliveries
		textCount += 2 + 1 + 2*deliveries
		chainCount += 2 + deliveries
	}

	args := make([]any, 0, size)
	texts := streamentry.NewTexts(textCount+chainCount, chainCount)

	args = append(args, "evalsha", p.script.hash, 3*len(items))
	for _, i := range items {
		u := &pubs[i].Update
		prefixes := &p.prefixes[p.cfg.Keys.Partition(u.Account)]
		args = append(args, &prefixes.stream, texts.AddText(prefixes.balance+u.Account), texts.AddText(prefixes.dedup+u.Key))
	}

	args = append(args, p.cfg.MaxLen, p.ttlSeconds, len(items))
	for _, i := range items {
		args = appendUpdate(args, &pubs[i], texts)
	}

	return args
}

func appendUpdate(args []any, pub *Publication, texts *streamentry.Texts) []any {
	u := &pub.Update
	first := &u.Deliveries[0].Seq
	last := &u.Deliveries[len(u.Deliveries)-1].Seq
	var startingPoint any = "0"
	if pub.AsStartingPoint {
		startingPoint = "1"
	}

	args = append(args, &u.Account, &u.Key, first, last, startingPoint, texts.AddChain(u.Before), nil)
	rest := len(args) // the number of the following arguments is at rest-1
	args = append(args, texts.AddText(u.Balance.UpdatedAt.UTC().Format(bus.TimeFormat)), texts.AddChain(u.Chain()))
	if isModel(u.Account) {
		args = append(args, 1, &u.Balance.Earned)
	} else {
		args = append(args, 2, &u.Balance.Available, &u.Balance.Escrow)
	}

	args = append(args, len(u.Deliveries))
	for i := range u.Deliveries {
		args = streamentry.AppendDelivery(args, &u.Deliveries[i], texts)
	}

	args[rest-1] = len(args) - rest
	return args
}

func isModel(account string) bool { return strings.HasPrefix(account, "model:") }

// keyPrefixes contains the key of a partition's stream and the prefixes of its other keys.
type keyPrefixes struct{ stream, balance, dedup string }

// newKeyPrefixes returns the prefixes of all partitions.
func newKeyPrefixes(keys bus.Keys) []keyPrefixes {
	prefixes := make([]keyPrefixes, keys.Partitions)
	for i := range prefixes {
		prefixes[i] = keyPrefixes{
			stream:  keys.Stream(i),
			balance: keys.Prefix(i) + ":balance:",
			dedup:   keys.Dedup(i, ""),
		}
	}

	return prefixes
}
