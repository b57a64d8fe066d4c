package cache

import (
	"context"
	"strconv"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// readHash reads the balance hash of an account from Redis. ok is false unless the hash has all
// fields of the account's type in the publisher's format.
func (b *Balances) readHash(ctx context.Context, name string) (balance bus.Balance, ok bool, err error) {
	balance.Account = name
	fields := []string{"seq", "chain", "updatedAt", "available", "escrow"}
	amounts := []*int64{&balance.Available, &balance.Escrow}
	if balance.IsModel() {
		fields = []string{"seq", "chain", "updatedAt", "earned"}
		amounts = []*int64{&balance.Earned}
	}

	values, err := b.rdb.HMGet(ctx, b.keys.BalanceHash(name), fields...).Result()
	if err != nil {
		return bus.Balance{}, false, err
	}

	chain, _ := values[1].(string)
	balance.Chain, err = bus.ParseChain(chain)
	if err != nil {
		return bus.Balance{}, false, nil //nolint:nilerr // the hash is incomplete: the caller asks the ledger
	}

	updatedAt, _ := values[2].(string)
	balance.UpdatedAt, err = time.Parse(time.RFC3339, updatedAt)
	if err != nil {
		return bus.Balance{}, false, nil //nolint:nilerr // the hash is incomplete: the caller asks the ledger
	}

	if !parseAmount(values[0], &balance.Seq) || balance.Seq == 0 {
		return bus.Balance{}, false, nil
	}
	for i, amount := range amounts {
		if !parseAmount(values[3+i], amount) {
			return bus.Balance{}, false, nil
		}
	}
	return balance, true, nil
}

// parseAmount parses a field of the hash. It reports whether the field is a number of at least 0.
func parseAmount(value any, amount *int64) bool {
	text, _ := value.(string)
	n, err := strconv.ParseInt(text, 10, 64)
	*amount = n
	return err == nil && n >= 0
}
