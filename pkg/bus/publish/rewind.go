package publish

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// rewindSource takes one account back to the common point of two histories.
//
//	KEYS  stream, balance hash, hash of the rewound accounts, dedup key of the rewind if it has one,
//	      dedup keys to delete
//	ARGV  seq and chain that the hash must have (empty: the field must not exist),
//	      id, type, account, seq, chain and data of the marker, seconds that the dedup key of the
//	      rewind lives (0: it has none), names and values of the hash's other fields
//
// It returns 1, or 0 if the hash has another seq or chain, or if there is no hash and the dedup key of
// the rewind exists. Then it has written nothing. All steps
// that can fail come before the first write, as in publishSource.
//
//go:embed rewind.lua
var rewindSource string

// A Rewind takes an account back to an event that the histories in Redis and in the ledger have in
// common.
type Rewind struct {
	Account string
	// HashSeq and HashChain are the fields of the account's balance hash as they were read; empty:
	// the field did not exist. If the hash has changed since, nothing is written.
	HashSeq, HashChain string
	// Once is a deduplication key of the rewind; empty: none. A rewind to Seq 0 deletes the hash. Then
	// only this key shows other processes, which find no hash, that the account was rewound.
	Once string
	// To is the account's state after the common event. If its Seq is 0, the hash is deleted.
	To bus.Balance
	// Again are the deduplication keys of updates that follow the common event in the ledger and may
	// have been published before. They are deleted, so that the updates are published again.
	Again []string
}

// Rewind adds a marker of the type bus.TypeHistoryChanged to each account's stream and sets its
// balance hash to the common point. The hash bus.Keys.Rewound gets the marker's id. It returns which
// accounts were rewound, in the order given. Each
// account is rewound completely or not at all, independently of the others.
//
// An error means that some calls failed. Their accounts are rewound or not.
func (p *Publisher) Rewind(ctx context.Context, rewinds []Rewind) ([]bool, error) {
	done := make([]bool, len(rewinds))
	calls := make([]*scriptCall, len(rewinds))
	for i := range rewinds {
		args, err := p.buildRewindArgs(&rewinds[i])
		if err != nil {
			return done, err
		}

		calls[i] = &scriptCall{args: args}
	}

	if len(calls) == 0 {
		return done, nil
	}

	p.rewind.runCalls(ctx, p.rdb, calls)
	var failed error
	for i, call := range calls {
		reply, err := call.cmd.Result()
		if err != nil {
			failed = fmt.Errorf("rewind: %w", err)
			continue
		}

		done[i] = len(reply) == 1 && reply[0] == 1
	}

	return done, failed
}

// ForgetUpdates deletes the deduplication keys of updates of an account. Call it before a rewind to a
// point before them that has too many in Rewind.Again. Until the rewind they cannot be published,
// because Redis has another history.
func (p *Publisher) ForgetUpdates(ctx context.Context, account string, updateKeys []string) error {
	if len(updateKeys) == 0 {
		return nil
	}

	partition := p.cfg.Keys.Partition(account)
	keys := make([]string, len(updateKeys))
	for i, key := range updateKeys {
		keys[i] = p.cfg.Keys.Dedup(partition, key)
	}

	err := p.rdb.Del(ctx, keys...).Err()
	if err != nil {
		return fmt.Errorf("forget updates: %w", err)
	}

	return nil
}

func (p *Publisher) buildRewindArgs(r *Rewind) ([]any, error) {
	id := uuid.NewString()
	data, err := encodeMarker(id, &r.To, r.Account)
	if err != nil {
		return nil, err
	}

	partition := p.cfg.Keys.Partition(r.Account)
	args := []any{
		"evalsha", p.rewind.hash, nil,
		p.cfg.Keys.Stream(partition), p.cfg.Keys.BalanceHash(r.Account), p.cfg.Keys.Rewound(partition),
	}

	onceSeconds := int64(0)
	if r.Once != "" {
		onceSeconds = max(1, int64(p.cfg.DedupTTL/time.Second))
		args = append(args, p.cfg.Keys.Dedup(partition, r.Once))
	}

	for _, key := range r.Again {
		args = append(args, p.cfg.Keys.Dedup(partition, key))
	}

	args[2] = len(args) - 3
	args = append(args, r.HashSeq, r.HashChain, id, bus.TypeHistoryChanged, r.Account, r.To.Seq, r.To.Chain.String(), data)
	args = append(args, onceSeconds)
	args = append(args, "updatedAt", r.To.UpdatedAt.UTC().Format(bus.TimeFormat))
	if isModel(r.Account) {
		return append(args, "earned", r.To.Earned), nil
	}

	return append(args, "available", r.To.Available, "escrow", r.To.Escrow), nil
}

// encodeMarker returns the payload of a marker.
func encodeMarker(id string, to *bus.Balance, account string) ([]byte, error) {
	accountType := "user"
	if isModel(account) {
		accountType = "model"
	}

	return json.Marshal(struct {
		bus.HistoryChanged
		Timestamp string `json:"timestamp"` // always with milliseconds
	}{
		HistoryChanged: bus.HistoryChanged{
			EventID:     id,
			EventType:   bus.TypeHistoryChanged,
			AccountID:   bus.AccountID(account),
			AccountType: accountType,
			Seq:         to.Seq,
			Chain:       to.Chain,
			Source:      "wallet-core",
			Version:     "1.0",
		},
		Timestamp: time.Now().UTC().Format(bus.TimeFormat),
	})
}
