package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redroomrewards/realtime/pkg/wallet"
)

const (
	seedDemo = "demo" // value of --seed
	seedDays = 7

	// seedStep is the time between two transactions of a day.
	seedStep = 7 * time.Minute
	// seedHours is how long before now the transactions of the last day begin.
	seedHours = 4 * time.Hour
)

// The accounts of the history.
var (
	seedUsers  = []wallet.Account{"user:alice", "user:bob", "user:carol", "user:dave"}
	seedModels = []wallet.Account{"model:luna", "model:nova"}
)

// seedFeatures are what users buy, and how they are billed.
var seedFeatures = []struct {
	feature string
	reason  string
	amount  int64
}{
	{"chip_menu", "chip_menu_purchase", 120},
	{"spin_wheel", "spin_wheel_play", 60},
	{"performance", "performance_request", 200},
}

// seedLedger writes a week of history into a ledger that has none. The same version always writes the
// same operations; only ids and times differ.
func (c devCmd) seedLedger(ctx context.Context, database string) error {
	if c.Seed != seedDemo {
		return nil
	}
	s := &seeder{}
	ledger, err := wallet.Open(ctx, database, wallet.Config{
		Clock:  s.tick,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return fmt.Errorf("--seed: %w", err)
	}
	s.ledger = ledger

	_, err = ledger.Balance(ctx, seedUsers[0])
	if errors.Is(err, wallet.ErrAccountNotFound) {
		err = s.run(ctx)
	}
	err = errors.Join(err, ledger.Close())
	if err != nil {
		return fmt.Errorf("--seed: %w", err)
	}
	return nil
}

// seeder writes the history.
type seeder struct {
	ledger *wallet.Ledger
	keys   int
	first  error // of an operation

	mu  sync.Mutex // protects now, since goroutines of the ledger call tick
	now time.Time  // of the next transaction
}

// tick is the clock of the ledger.
func (s *seeder) tick() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *seeder) setTime(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = t
}

// run writes the history, while the ledger runs for it.
func (s *seeder) run(ctx context.Context) error {
	running, stop := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- s.ledger.Run(running) }()

	start := time.Now().Truncate(time.Minute)
	for day := range seedDays {
		s.setTime(start.AddDate(0, 0, day-seedDays+1).Add(-seedHours))
		s.writeDay(ctx, day)
	}
	s.setTime(start.Add(-seedHours / 2))
	s.leaveOpen(ctx)

	stop()
	return errors.Join(s.first, <-ran)
}

// writeDay writes the transactions of a day: each user buys something, and each third order is settled,
// settled in part, or refunded.
func (s *seeder) writeDay(ctx context.Context, day int) {
	if day == 0 {
		s.do(ctx, eachUser(func(int) wallet.Op {
			return wallet.Op{
				Operation: wallet.OpCredit,
				Amount:    2000,
				Reason:    "user_signup_bonus",
				Metadata:  json.RawMessage(`{"campaign":"welcome","source":"core dev"}`),
			}
		}))
		return
	}

	holds := s.do(ctx, eachUser(func(user int) wallet.Op {
		item := seedFeatures[(day+user)%len(seedFeatures)]
		return wallet.Op{
			Operation:   wallet.OpHold,
			Amount:      item.amount,
			Reason:      item.reason,
			QueueItemID: fmt.Sprintf("order-%d-%d", day, user+1),
			FeatureType: item.feature,
			Metadata:    json.RawMessage(fmt.Sprintf(`{"order":{"day":%d,"items":["%s"]}}`, day, item.feature)),
		}
	}))
	var closing []wallet.Op
	for user, receipt := range holds {
		closing = append(closing, closeOrder(day+2*user, receipt))
	}
	s.do(ctx, closing)
	if day == seedDays-2 {
		s.do(ctx, []wallet.Op{
			{Operation: wallet.OpDebit, Account: seedModels[0], Amount: 150, Reason: "model_payout"},
			{Operation: wallet.OpCredit, Account: seedUsers[1], Amount: 500, Reason: "promotional_award"},
		})
	}
}

// closeOrder returns the operation that closes an order. The number selects how.
func closeOrder(number int, hold wallet.Receipt) wallet.Op {
	op := wallet.Op{
		Operation:   wallet.OpSettle,
		EscrowID:    hold.EscrowID,
		Model:       seedModels[number%len(seedModels)],
		Amount:      hold.Amount,
		Reason:      "performance_completed",
		QueueItemID: "queue",
	}
	switch number % 5 {
	case 0:
		op.Operation = wallet.OpPartialSettle
		op.Amount = 0
		op.RefundAmount = hold.Amount / 4
		op.SettleAmount = hold.Amount - op.RefundAmount
		op.Reason = "partial_performance"
	case 1:
		op.Operation = wallet.OpRefund
		op.Model = ""
		op.Reason = "user_cancelled"
	}
	return op
}

// leaveOpen holds points for orders that are still open: two that last, and one that has expired
// meanwhile. The core refunds that one when it starts.
func (s *seeder) leaveOpen(ctx context.Context) {
	hold := func(user int, expiresIn time.Duration) wallet.Op {
		item := seedFeatures[user%len(seedFeatures)]
		return wallet.Op{
			Operation:   wallet.OpHold,
			Account:     seedUsers[user],
			Amount:      item.amount,
			Reason:      item.reason,
			QueueItemID: fmt.Sprintf("open-%d", user+1),
			FeatureType: item.feature,
			ExpiresIn:   expiresIn,
		}
	}
	s.do(ctx, []wallet.Op{hold(0, 0), hold(1, 30*24*time.Hour), hold(2, time.Hour)})
}

// eachUser returns one operation for each user.
func eachUser(describe func(user int) wallet.Op) []wallet.Op {
	ops := []wallet.Op{}
	for i, account := range seedUsers {
		op := describe(i)
		op.Account = account
		ops = append(ops, op)
	}
	return ops
}

// do does the operations at the same time, and then lets time pass. The first error of all is kept.
func (s *seeder) do(ctx context.Context, ops []wallet.Op) []wallet.Receipt {
	for i := range ops {
		s.keys++
		ops[i].IdempotencyKey = fmt.Sprintf("seed-%d", s.keys)
	}
	receipts := make([]wallet.Receipt, len(ops))
	for i, result := range s.ledger.DoBatch(ctx, ops) {
		receipts[i] = result.Receipt
		if result.Err != nil && s.first == nil {
			s.first = fmt.Errorf("%s: %w", ops[i].Operation, result.Err)
		}
	}
	s.setTime(s.tick().Add(seedStep))
	return receipts
}
