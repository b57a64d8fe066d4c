package wallet_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

func TestOperationsEventsAndBalances(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		const user, model = wallet.Account("user:u1"), wallet.Account("model:m1")

		op := credit(user, 1000, "c1")
		op.Metadata, op.CorrelationID, op.RequestID = json.RawMessage(`{"a":"\"\\\u0000{}","n":1.0}`), `corr "1"\`, "req-1"
		mustDo(t, l, op)
		h1 := mustDo(t, l, hold(user, 300, "h1"))
		h2 := mustDo(t, l, hold(user, 200, "h2"))
		h3 := mustDo(t, l, hold(user, 100, "h3"))
		mustDo(t, l, settle(h1.EscrowID, model, 300, "s1"))
		mustDo(t, l, refund(h2.EscrowID, 200, "r1"))
		last := mustDo(t, l, partial(h3.EscrowID, model, 40, 60, "p1"))
		mustDo(t, l, wallet.Op{Operation: wallet.OpDebit, Account: user, Amount: 40, Reason: "point_expiry", IdempotencyKey: "d1"})
		mustDo(t, l, wallet.Op{Operation: wallet.OpDebit, Account: model, Amount: 360, Reason: "payout", IdempotencyKey: "d2"})

		if got := last.Balances; len(got) != 2 || got[0].Available != 640 || got[0].Escrow != 0 || got[1].Earned != 360 {
			t.Errorf("partial settlement's receipt has %+v", got)
		}
		u, err := l.Balance(t.Context(), user)
		if err != nil || u.Available != 600 || u.Escrow != 0 || u.Seq != 1+3*3+2+3+3+1 {
			t.Errorf("user has %+v, %v", u, err)
		}
		m, err := l.Balance(t.Context(), model)
		if err != nil || m.Earned != 0 || m.Seq != 2+2+1 {
			t.Errorf("model has %+v, %v", m, err)
		}

		for r, want := range map[*wallet.Receipt]wallet.Escrow{
			&h1: {Status: wallet.StatusSettled, Model: model, SettleAmount: 300},
			&h2: {Status: wallet.StatusRefunded, RefundAmount: 200},
			&h3: {Status: wallet.StatusPartiallySettled, Model: model, RefundAmount: 40, SettleAmount: 60},
		} {
			e, err := l.Escrow(t.Context(), r.EscrowID)
			if err != nil || e.Status != want.Status || e.Model != want.Model || e.RefundAmount != want.RefundAmount || e.SettleAmount != want.SettleAmount ||
				e.User != user || e.Amount != r.Amount || e.HeldBy != r.TransactionID || e.ClosedBy == uuid.Nil || e.ClosedAt.IsZero() {
				t.Errorf("escrow is %+v, want %+v (%v)", e, want, err)
			}
		}

		types := func(a wallet.Account) (out []string) {
			for _, e := range eventsOf(t, l, a, 0) {
				name := strings.TrimPrefix(e["eventType"].(string), "wallet.")
				if s, ok := e["balanceState"]; ok {
					name += fmt.Sprintf("(%s %v)", s, e["changeAmount"])
				}
				out = append(out, name)
			}
			return out
		}
		wantUser := "balance_updated(available 1000) " +
			"escrow_held balance_updated(available -300) balance_updated(escrow 300) " +
			"escrow_held balance_updated(available -200) balance_updated(escrow 200) " +
			"escrow_held balance_updated(available -100) balance_updated(escrow 100) " +
			"escrow_settled balance_updated(escrow -300) " +
			"escrow_refunded balance_updated(escrow -200) balance_updated(available 200) " +
			"escrow_partial_settled balance_updated(escrow -100) balance_updated(available 40) " +
			"balance_updated(available -40)"
		if got := strings.Join(types(user), " "); got != wantUser {
			t.Errorf("user's events:\n%s\nwant\n%s", got, wantUser)
		}
		wantModel := "escrow_settled balance_updated(earned 300) escrow_partial_settled balance_updated(earned 60) balance_updated(earned -360)"
		if got := strings.Join(types(model), " "); got != wantModel {
			t.Errorf("model's events:\n%s\nwant\n%s", got, wantModel)
		}

		first := eventsOf(t, l, user, 0)[0]
		if first["correlationId"] != `corr "1"\` || first["metadata"].(map[string]any)["a"] != "\"\\\u0000{}" {
			t.Errorf("first event lacks what the request carried: %v", first)
		}
		assertInvariants(t, l, user, model)
	})
}

// Clients get several events in one message, one to a line: metadata that came over several lines
// goes out on one.
func TestEventsHaveNoLineBreaks(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		op := credit("user:u1", 1000, "c1")
		op.Metadata = json.RawMessage("{\r\n\t\"a\" : [1.0,\n\"b \\n <\"]\r}")
		mustDo(t, l, op)
		const want = `,"metadata":{"a":[1.0,"b \n <"]}}`
		events, _, err := l.Events(t.Context(), "user:u1", 0, 10)
		if err != nil || len(events) != 1 {
			t.Fatalf("%d events, %v", len(events), err)
		}
		if got := string(events[0].Event); !strings.HasSuffix(got, want) {
			t.Errorf("%s does not end with %s", got, want)
		}
		pending, err := l.Pending(t.Context(), 0, 10)
		if err != nil || len(pending) != 1 {
			t.Fatalf("%d transactions in the outbox, %v", len(pending), err)
		}
		if got := string(pending[0].Updates[0].Deliveries[0].Data); !strings.HasSuffix(got, want) {
			t.Errorf("%s does not end with %s", got, want)
		}
		// What the ledger keeps, and hashes, is what was given.
		if again := mustDo(t, l, op); !again.Replayed {
			t.Error("its repeat was done anew")
		}
		if r, err := l.Verify(t.Context(), wallet.VerifyOptions{}); err != nil || !r.OK() {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestTransactionsSumToZero(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		const user, model = wallet.Account("user:u1"), wallet.Account("model:m1")
		receipts := []wallet.Receipt{mustDo(t, l, credit(user, 1000, "c1")), mustDo(t, l, credit(model, 5, "c2"))}
		h := mustDo(t, l, hold(user, 300, "h1"))
		receipts = append(receipts, h, mustDo(t, l, partial(h.EscrowID, model, 100, 200, "p")))
		for _, r := range receipts {
			tx, err := l.Transaction(t.Context(), r.TransactionID)
			if err != nil {
				t.Fatal(err)
			}
			var sum int64
			for i, e := range tx.Entries {
				sum += e.Amount
				if e.Place != i || len(e.Hash) != 32 {
					t.Errorf("%s: entry %d has place %d and a hash of %d bytes", r.Operation, i, e.Place, len(e.Hash))
				}
			}
			if sum != 0 || len(tx.Entries) < 2 {
				t.Errorf("%s: %d entries sum to %d", r.Operation, len(tx.Entries), sum)
			}
		}
		if _, err := l.Transaction(t.Context(), uuid.New()); !errors.Is(err, wallet.ErrTransactionNotFound) {
			t.Errorf("unknown transaction: %v", err)
		}
	})
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		const user, model = wallet.Account("user:u1"), wallet.Account("model:m1")
		mustDo(t, l, credit(user, 1000, "c1"))
		mustDo(t, l, credit("user:rich", wallet.MaxAmount, "c2"))
		mustDo(t, l, credit("model:rich", wallet.MaxAmount, "c3"))
		held := mustDo(t, l, hold(user, 100, "h1")).EscrowID
		settled := mustDo(t, l, hold(user, 100, "h2")).EscrowID
		mustDo(t, l, settle(settled, model, 100, "s2"))
		refunded := mustDo(t, l, hold(user, 100, "h3")).EscrowID
		mustDo(t, l, refund(refunded, 100, "r3"))
		before, err := l.Balance(t.Context(), user)
		if err != nil {
			t.Fatal(err)
		}

		longReason := credit(user, 1, "x")
		longReason.Reason = "a" + strings.Repeat("b", 64)
		for name, tc := range map[string]struct {
			op   wallet.Op
			want error
		}{
			"debit too much":          {wallet.Op{Operation: wallet.OpDebit, Account: user, Amount: 801, Reason: "admin_debit", IdempotencyKey: "x"}, wallet.ErrInsufficientFunds},
			"hold too much":           {hold(user, 801, "x"), wallet.ErrInsufficientFunds},
			"hold of a stranger":      {hold("user:nobody", 1, "x"), wallet.ErrAccountNotFound},
			"debit of a stranger":     {wallet.Op{Operation: wallet.OpDebit, Account: "model:nobody", Amount: 1, Reason: "payout", IdempotencyKey: "x"}, wallet.ErrAccountNotFound},
			"hold on a model":         {hold(model, 1, "x"), wallet.ErrInvalid},
			"unknown escrow":          {settle(uuid.New(), model, 1, "x"), wallet.ErrEscrowNotFound},
			"settle another amount":   {settle(held, model, 99, "x"), wallet.ErrAmountMismatch},
			"refund another amount":   {refund(held, 101, "x"), wallet.ErrAmountMismatch},
			"partial another sum":     {partial(held, model, 50, 51, "x"), wallet.ErrAmountMismatch},
			"partial with 0":          {partial(held, model, 0, 100, "x"), wallet.ErrInvalid},
			"settle twice":            {settle(settled, model, 100, "x"), wallet.ErrEscrowProcessed},
			"refund after settle":     {refund(settled, 100, "x"), wallet.ErrEscrowProcessed},
			"settle after refund":     {settle(refunded, model, 100, "x"), wallet.ErrEscrowProcessed},
			"settle to a user":        {settle(held, "user:u2", 100, "x"), wallet.ErrInvalid},
			"key reused":              {credit(user, 999, "c1"), wallet.ErrKeyReused},
			"balance above the limit": {credit("user:rich", 1, "x"), wallet.ErrInvalid},
			"earned above the limit":  {settle(held, "model:rich", 100, "x"), wallet.ErrInvalid},
			"amount 0":                {credit(user, 0, "x"), wallet.ErrInvalid},
			"amount -1":               {credit(user, -1, "x"), wallet.ErrInvalid},
			"amount 2^53":             {credit(user, 1<<53, "x"), wallet.ErrInvalid},
			"no key":                  {credit(user, 1, ""), wallet.ErrInvalid},
			"key with a blank":        {credit(user, 1, "a b"), wallet.ErrInvalid},
			"key of 256":              {credit(user, 1, strings.Repeat("k", 256)), wallet.ErrInvalid},
			"reason of 65":            {longReason, wallet.ErrInvalid},
			"account of 129":          {credit(wallet.Account("user:"+strings.Repeat("a", 129)), 1, "x"), wallet.ErrInvalid},
			"account with a brace":    {credit("user:{0}", 1, "x"), wallet.ErrInvalid},
			"system account":          {credit(wallet.SystemIssuance, 1, "x"), wallet.ErrInvalid},
		} {
			if _, err := l.Do(t.Context(), tc.op); !errors.Is(err, tc.want) {
				t.Errorf("%s: %v, want %v", name, err, tc.want)
			}
		}
		// A key whose operation was refused may be used again.
		mustDo(t, l, credit(user, 1, "x"))
		after, err := l.Balance(t.Context(), user)
		if err != nil || after.Available != before.Available+1 || after.Seq != before.Seq+1 {
			t.Errorf("refusals changed %+v to %+v (%v)", before, after, err)
		}
		assertInvariants(t, l, user, model, "user:rich", "model:rich")
	})
}

func TestMetacharactersAreText(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		nasty := `'; DROP TABLE wallets; -- {"},NULL\\"\ $1 ü 漢 %s * {0}:`
		mustDo(t, l, credit("user:u~1@x.y_z-", 100, "'--"))
		op := hold("user:u~1@x.y_z-", 10, `"{\},'`)
		op.QueueItemID, op.CorrelationID, op.RequestID = nasty, nasty, nasty
		op.FeatureType = `{"},NULL\\'`
		r := mustDo(t, l, op)
		e, err := l.Escrow(t.Context(), r.EscrowID)
		if err != nil || e.QueueItemID != nasty || e.FeatureType != op.FeatureType {
			t.Errorf("escrow has %q, %q (%v)", e.QueueItemID, e.FeatureType, err)
		}
		tx, err := l.Transaction(t.Context(), r.TransactionID)
		if err != nil || tx.CorrelationID != nasty || tx.RequestID != nasty {
			t.Errorf("transaction has %q, %q (%v)", tx.CorrelationID, tx.RequestID, err)
		}
		if again := mustDo(t, l, op); !again.Replayed {
			t.Error("the key was not found again")
		}
		if got := eventsOf(t, l, "user:u~1@x.y_z-", 1)[0]["queueItemId"]; got != nasty {
			t.Errorf("event has %q", got)
		}
		assertInvariants(t, l, "user:u~1@x.y_z-")
	})
}

func TestBatchItemsStandOrFallOneByOne(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		ops := []wallet.Op{
			credit("user:u1", 100, "c1"),
			hold("user:u1", 60, "h1"),
			hold("user:u1", 60, "h2"), // too much by now
			credit("user:u1", 0, "c2"),
			credit("user:u1", 100, "c1"), // a repeat
			credit("user:u1", 101, "c1"), // another body
			hold("user:u1", 40, "h3"),
		}
		want := []error{nil, nil, wallet.ErrInsufficientFunds, wallet.ErrInvalid, nil, wallet.ErrKeyReused, nil}
		for i, r := range l.DoBatch(t.Context(), ops) {
			if !errors.Is(r.Err, want[i]) {
				t.Errorf("item %d: %v, want %v", i, r.Err, want[i])
			}
			if r.Err == nil && r.Receipt.Replayed != (i == 4) {
				t.Errorf("item %d: %+v", i, r.Receipt)
			}
		}
		many := make([]wallet.Op, 1000)
		for i := range many {
			many[i] = credit(wallet.Account(fmt.Sprint("user:", i%7)), 1, fmt.Sprint("many", i))
		}
		for i, r := range l.DoBatch(t.Context(), many) {
			if r.Err != nil {
				t.Fatalf("item %d: %v", i, r.Err)
			}
		}
		assertInvariants(t, l, "user:u1", "user:0", "user:6")
	})
}

func TestThePast(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		type moment struct {
			at   time.Time
			want wallet.Balance
		}
		var moments []moment
		remember := func(r wallet.Receipt) wallet.Receipt {
			moments = append(moments, moment{r.Timestamp, r.Balances[0]})
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for !time.Now().After(r.Timestamp.Add(2 * time.Millisecond)) { // the next one is later by its clock
				<-tick.C
			}
			return r
		}
		remember(mustDo(t, l, credit("user:u1", 100, "c")))
		for i := range 12 {
			h := remember(mustDo(t, l, hold("user:u1", 5, fmt.Sprint("h", i))))
			remember(mustDo(t, l, partial(h.EscrowID, "model:m1", 2, 3, fmt.Sprint("p", i))))
		}
		for i, m := range moments {
			for _, at := range []time.Time{m.at, m.at.Add(time.Millisecond)} {
				if got, err := l.BalanceAt(t.Context(), "user:u1", at); err != nil || got != m.want {
					t.Errorf("moment %d: %+v, %v, want %+v", i, got, err, m.want)
				}
			}
		}
		if got, err := l.BalanceAt(t.Context(), "user:u1", moments[0].at.Add(-time.Millisecond)); err != nil || got.Seq != 0 || got.Available != 0 {
			t.Errorf("before the beginning: %+v, %v", got, err)
		}
		if _, err := l.BalanceAt(t.Context(), "user:u2", time.Now()); !errors.Is(err, wallet.ErrAccountNotFound) {
			t.Errorf("unknown account: %v", err)
		}

		var all []wallet.Entry
		collect := func(e *wallet.Entry) error { all = append(all, *e); return nil }
		if err := l.Export(t.Context(), "user:u1", wallet.EntryFilter{}, collect); err != nil || len(all) != 1+12*4 {
			t.Fatalf("%d entries, %v", len(all), err)
		}
		for _, span := range [][2]int{{0, 3}, {3, 4}, {5, 5}, {7, len(moments) - 1}} {
			from, to := moments[span[0]].at, moments[span[1]].at
			var want []wallet.Entry
			for _, e := range all {
				if !e.CreatedAt.Before(from) && e.CreatedAt.Before(to) {
					want = append(want, e)
				}
			}
			entries := all
			all = nil
			err := l.Export(t.Context(), "user:u1", wallet.EntryFilter{From: from, To: to}, collect)
			if err != nil || fmt.Sprint(all) != fmt.Sprint(want) {
				t.Errorf("%v: %d entries, want %d, %v", span, len(all), len(want), err)
			}
			all = entries
		}
	})
}

func TestLayoutIsRemembered(t *testing.T) {
	t.Parallel()
	refused := errors.New("redis says otherwise")
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		refuse := func(context.Context) error { return refused }
		if err := l.CheckLayout(t.Context(), bus.Keys{Partitions: 8}, refuse); !errors.Is(err, refused) {
			t.Errorf("%v, want the claim's error", err)
		}
		for range 2 { // and nothing of that is remembered
			claimed := false
			err := l.CheckLayout(t.Context(), bus.Keys{}, func(context.Context) error { claimed = true; return nil })
			if err != nil || !claimed {
				t.Errorf("claimed: %t, %v", claimed, err)
			}
		}
		for _, other := range []bus.Keys{{Namespace: "other"}, {Partitions: 8}} {
			err := l.CheckLayout(t.Context(), other, func(context.Context) error { t.Errorf("%+v: claimed", other); return nil })
			if !errors.Is(err, bus.ErrLayout) {
				t.Errorf("%+v: %v, want bus.ErrLayout", other, err)
			}
		}
		if err := l.CheckLayout(t.Context(), bus.Keys{}, refuse); !errors.Is(err, refused) {
			t.Errorf("later: %v, want the claim's error", err)
		}
	})
}

// TestTwoFirstLayoutsAtOnce has cores start on a new ledger with different settings: one of them
// claims, the others are refused. The first claim fails, so that who waited for it goes on.
func TestTwoFirstLayoutsAtOnce(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		refused := errors.New("redis says otherwise")
		var claims, bound atomic.Int32
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				err := l.CheckLayout(t.Context(), bus.Keys{Partitions: i + 1}, func(context.Context) error {
					if claims.Add(1) == 1 {
						return refused
					}
					return nil
				})
				switch {
				case err == nil:
					bound.Add(1)
				case !errors.Is(err, refused) && !errors.Is(err, bus.ErrLayout):
					t.Errorf("%d partitions: %v", i+1, err)
				}
			})
		}
		wg.Wait()
		if claims.Load() != 2 || bound.Load() != 1 {
			t.Errorf("%d claimed and %d were bound, want 2 and 1", claims.Load(), bound.Load())
		}
	})
}

// TestCursorsWhileOthersWrite pages through an account's entries and escrows while it changes all
// the time: what there was at the first page comes once each, in order, and nothing that came since
// is between.
func TestCursorsWhileOthersWrite(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		mustDo(t, l, credit("user:u1", 1_000_000, "start"))
		trade := func(who string, i int) {
			h, err := l.Do(t.Context(), hold("user:u1", 1, fmt.Sprint(who, i)))
			if err == nil && i%2 == 0 {
				_, err = l.Do(t.Context(), settle(h.EscrowID, "model:m1", 1, fmt.Sprint(who, i)))
			}
			if err != nil {
				t.Errorf("%s %d: %v", who, i, err)
			}
		}
		for i := range 40 {
			trade("before", i)
		}
		reading, stop := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		defer writers.Wait()
		defer stop()
		for w := range 4 {
			writers.Go(func() {
				for i := 0; reading.Err() == nil && !t.Failed(); i++ {
					trade(fmt.Sprint("writer-", w, "-"), i)
				}
			})
		}
		for range 2 {
			var seqs []int64
			for cursor := ""; ; {
				entries, next, err := l.Entries(t.Context(), "user:u1", wallet.EntryFilter{}, wallet.Page{Limit: 15, Before: cursor})
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					seqs = append(seqs, e.Seq)
				}
				if cursor = next; cursor == "" {
					break
				}
			}
			var all []int64 // what there was, from the other end
			err := l.Export(t.Context(), "user:u1", wallet.EntryFilter{}, func(e *wallet.Entry) error {
				if e.Seq <= seqs[0] {
					all = append(all, e.Seq)
				}
				return nil
			})
			if slices.Reverse(all); err != nil || !slices.Equal(seqs, all) {
				t.Errorf("pages have %d entries, there were %d up to seq %d (%v)", len(seqs), len(all), seqs[0], err)
			}

			seen, escrows := map[uuid.UUID]bool{}, 0
			for cursor := ""; ; {
				page, next, err := l.Escrows(t.Context(), "user:u1", "", wallet.Page{Limit: 15, Before: cursor})
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range page {
					if seen[e.ID] {
						t.Errorf("escrow %s comes twice", e.ID)
					}
					seen[e.ID] = true
					if strings.HasPrefix(e.QueueItemID, "q-") && e.User == "user:u1" {
						escrows++
					}
				}
				if cursor = next; cursor == "" {
					break
				}
			}
			if escrows < 40 {
				t.Errorf("%d escrows, 40 were there before", escrows)
			}
		}
	})
}
