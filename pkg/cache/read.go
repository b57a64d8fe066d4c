package cache

import (
	"context"
	"strconv"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// readHash asks Redis. ok is false unless the hash has every field of its account's
// type in a form that the publisher writes.
func (b *Balances) readHash(ctx context.Context, name string) (balance bus.Balance, ok bool, err error) {
	key := b.keys.BalanceHash(name)
	balance.Account = name
	var values []any
	if balance.IsModel() {
		values, err = b.rdb.HMGet(ctx, key, "seq", "updatedAt", "earned").Result()
	} else {
		values, err = b.rdb.HMGet(ctx, key, "seq", "updatedAt", "available", "escrow").Result()
	}
	if err != nil {
		return bus.Balance{}, false, err
	}
	updated, _ := values[1].(string)
	balance.UpdatedAt, err = time.Parse(time.RFC3339, updated)
	if err != nil {
		return bus.Balance{}, false, nil //nolint:nilerr // an incomplete hash is an answer: ask the ledger
	}
	amounts := []*int64{&balance.Available, &balance.Escrow}
	if balance.IsModel() {
		amounts = []*int64{&balance.Earned}
	}
	ok = parseAmount(values[0], &balance.Seq) && balance.Seq > 0
	for i, amount := range amounts {
		ok = ok && parseAmount(values[2+i], amount)
	}
	if !ok {
		return bus.Balance{}, false, nil
	}
	return balance, true, nil
}

func parseAmount(value any, to *int64) bool {
	text, _ := value.(string)
	n, err := strconv.ParseInt(text, 10, 64)
	*to = n
	return err == nil && n >= 0
}
