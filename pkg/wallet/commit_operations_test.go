package wallet_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

const (
	testUser  = wallet.Account("user:u1")
	testModel = wallet.Account("model:m1")
)

// operationReceipts are the receipts of doEachOperation that tests look at.
type operationReceipts struct {
	settled  wallet.Receipt // the hold that is settled
	refunded wallet.Receipt // the hold that is refunded
	partial  wallet.Receipt // the hold that is settled in part
	last     wallet.Receipt // the partial settlement
}

// doEachOperation does each kind of operation. The first credit has all optional fields.
func doEachOperation(t *testing.T, l *wallet.Ledger) operationReceipts {
	t.Helper()
	op := newCredit(testUser, 1000, "c1")
	op.Metadata = json.RawMessage(`{"a":"\"\\\u000a{}","n":1.0}`)
	op.CorrelationID = `corr "1"\`
	op.RequestID = "req-1"
	mustDo(t, l, op)

	var r operationReceipts
	r.settled = mustDo(t, l, newHold(testUser, 300, "h1"))
	r.refunded = mustDo(t, l, newHold(testUser, 200, "h2"))
	r.partial = mustDo(t, l, newHold(testUser, 100, "h3"))
	mustDo(t, l, newSettle(r.settled.EscrowID, testModel, 300, "s1"))
	mustDo(t, l, newRefund(r.refunded.EscrowID, 200, "r1"))
	r.last = mustDo(t, l, newPartialSettle(r.partial.EscrowID, testModel, 40, 60, "p1"))
	mustDo(t, l, newDebit(testUser, 40, "point_expiry", "d1"))
	mustDo(t, l, newDebit(testModel, 360, "payout", "d2"))
	return r
}

func TestOperationsChangeBalances(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		receipts := doEachOperation(t, l)
		checkBalance(t, l, testUser, wallet.Balance{Available: 600, Seq: 1 + 3*3 + 2 + 3 + 3 + 1})
		checkBalance(t, l, testModel, wallet.Balance{Seq: 2 + 2 + 1})

		balances := receipts.last.Balances
		if len(balances) != 2 {
			t.Fatalf("partial settlement's receipt: got %d balances, want 2", len(balances))
		}
		checkEqual(t, "user's available balance in the receipt", balances[0].Available, 640)
		checkEqual(t, "user's escrow balance in the receipt", balances[0].Escrow, 0)
		checkEqual(t, "model's earned balance in the receipt", balances[1].Earned, 360)
		checkAccounts(t, l, testUser, testModel)
	})
}

func TestOperationsCloseEscrows(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		receipts := doEachOperation(t, l)
		for _, tc := range []struct {
			name    string
			receipt wallet.Receipt
			want    wallet.Escrow
		}{
			{"settled", receipts.settled, wallet.Escrow{Status: wallet.StatusSettled, Model: testModel, SettleAmount: 300}},
			{"refunded", receipts.refunded, wallet.Escrow{Status: wallet.StatusRefunded, RefundAmount: 200}},
			{
				"partially settled",
				receipts.partial,
				wallet.Escrow{Status: wallet.StatusPartiallySettled, Model: testModel, RefundAmount: 40, SettleAmount: 60},
			},
		} {
			t.Run(tc.name, func(t *testing.T) {
				e, err := l.Escrow(t.Context(), tc.receipt.EscrowID)
				if err != nil {
					t.Fatal(err)
				}
				checkEqual(t, "status", e.Status, tc.want.Status)
				checkEqual(t, "model", e.Model, tc.want.Model)
				checkEqual(t, "refund amount", e.RefundAmount, tc.want.RefundAmount)
				checkEqual(t, "settle amount", e.SettleAmount, tc.want.SettleAmount)
				checkEqual(t, "user", e.User, testUser)
				checkEqual(t, "amount", e.Amount, tc.receipt.Amount)
				checkEqual(t, "transaction of the hold", e.HeldBy, tc.receipt.TransactionID)
				if e.ClosedBy == uuid.Nil {
					t.Error("the transaction that closed the escrow is missing")
				}
				if e.ClosedAt.IsZero() {
					t.Error("the time at which the escrow was closed is missing")
				}
			})
		}
	})
}

func TestOperationsPublishTheirEventsInOrder(t *testing.T) {
	t.Parallel()
	wantUser := []string{
		"balance_updated(available 1000)",
		"escrow_held", "balance_updated(available -300)", "balance_updated(escrow 300)",
		"escrow_held", "balance_updated(available -200)", "balance_updated(escrow 200)",
		"escrow_held", "balance_updated(available -100)", "balance_updated(escrow 100)",
		"escrow_settled", "balance_updated(escrow -300)",
		"escrow_refunded", "balance_updated(escrow -200)", "balance_updated(available 200)",
		"escrow_partial_settled", "balance_updated(escrow -100)", "balance_updated(available 40)",
		"balance_updated(available -40)",
	}
	wantModel := []string{
		"escrow_settled", "balance_updated(earned 300)",
		"escrow_partial_settled", "balance_updated(earned 60)",
		"balance_updated(earned -360)",
	}
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		doEachOperation(t, l)
		if got := summarizeEvents(t, l, testUser); !slices.Equal(got, wantUser) {
			t.Errorf("user's events:\ngot  %q\nwant %q", got, wantUser)
		}
		if got := summarizeEvents(t, l, testModel); !slices.Equal(got, wantModel) {
			t.Errorf("model's events:\ngot  %q\nwant %q", got, wantModel)
		}
	})
}

// summarizeEvents returns the account's event types, with the change of those that have one.
func summarizeEvents(t *testing.T, l *wallet.Ledger, a wallet.Account) []string {
	t.Helper()
	var list []string
	for _, e := range readEvents(t, l, a, 0) {
		summary := strings.TrimPrefix(e["eventType"].(string), "wallet.")
		if state, found := e["balanceState"]; found {
			summary += fmt.Sprintf("(%s %v)", state, e["changeAmount"])
		}
		list = append(list, summary)
	}
	return list
}

func TestEventsCarryTheFieldsOfTheRequest(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		doEachOperation(t, l)
		first := readEvents(t, l, testUser, 0)[0]
		checkEqual[any](t, "correlation id", first["correlationId"], `corr "1"\`)
		metadata, _ := first["metadata"].(map[string]any)
		checkEqual[any](t, "metadata", metadata["a"], "\"\\\u000a{}")
	})
}

func TestTransactionsSumToZero(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		toUser := mustDo(t, l, newCredit(testUser, 1000, "c1"))
		toModel := mustDo(t, l, newCredit(testModel, 5, "c2"))
		held := mustDo(t, l, newHold(testUser, 300, "h1"))
		shared := mustDo(t, l, newPartialSettle(held.EscrowID, testModel, 100, 200, "p"))
		for i, r := range []wallet.Receipt{toUser, toModel, held, shared} {
			t.Run(fmt.Sprint(i, " ", r.Operation), func(t *testing.T) {
				tx, err := l.Transaction(t.Context(), r.TransactionID)
				if err != nil {
					t.Fatal(err)
				}
				var sum int64
				for i, e := range tx.Entries {
					sum += e.Amount
					checkEqual(t, "place", e.Place, i)
					checkEqual(t, "length of the hash", len(e.Hash), 32)
				}
				checkEqual(t, "sum of the entries", sum, 0)
				if len(tx.Entries) < 2 {
					t.Errorf("entries: got %d, want at least 2", len(tx.Entries))
				}
			})
		}
		_, err := l.Transaction(t.Context(), uuid.New())
		checkError(t, "unknown transaction", err, wallet.ErrTransactionNotFound)
	})
}

func TestMetacharactersAreText(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		const user = wallet.Account("user:u~1@x.y_z-")
		text := `'; DROP TABLE wallets; -- {"},NULL\\"\ $1 ü 漢 %s * {0}:`
		mustDo(t, l, newCredit(user, 100, "'--"))
		op := newHold(user, 10, `"{\},'`)
		op.QueueItemID = text
		op.CorrelationID = text
		op.RequestID = text
		op.FeatureType = `{"},NULL\\'`
		r := mustDo(t, l, op)

		e, err := l.Escrow(t.Context(), r.EscrowID)
		if err != nil {
			t.Fatal(err)
		}
		checkEqual(t, "escrow's queue item", e.QueueItemID, text)
		checkEqual(t, "escrow's feature", e.FeatureType, op.FeatureType)
		tx, err := l.Transaction(t.Context(), r.TransactionID)
		if err != nil {
			t.Fatal(err)
		}
		checkEqual(t, "transaction's correlation id", tx.CorrelationID, text)
		checkEqual(t, "transaction's request id", tx.RequestID, text)
		checkEqual(t, "retry is replayed", mustDo(t, l, op).Replayed, true)
		checkEqual[any](t, "event's queue item", readEvents(t, l, user, 1)[0]["queueItemId"], text)
		checkAccounts(t, l, user)
	})
}

func TestBatchItemsSucceedOrFailAlone(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		items := []struct {
			op       wallet.Op
			want     error
			replayed bool
		}{
			{op: newCredit("user:u1", 100, "c1")},
			{op: newHold("user:u1", 60, "h1")},
			{op: newHold("user:u1", 60, "h2"), want: wallet.ErrInsufficientFunds}, // 40 points remain
			{op: newCredit("user:u1", 0, "c2"), want: wallet.ErrInvalid},
			{op: newCredit("user:u1", 100, "c1"), replayed: true},
			{op: newCredit("user:u1", 101, "c1"), want: wallet.ErrKeyReused},
			{op: newHold("user:u1", 40, "h3")},
		}
		ops := make([]wallet.Op, len(items))
		for i, item := range items {
			ops[i] = item.op
		}
		for i, r := range l.DoBatch(t.Context(), ops) {
			name := fmt.Sprint("item ", i)
			checkError(t, name, r.Err, items[i].want)
			if r.Err == nil {
				checkEqual(t, name+" replayed", r.Receipt.Replayed, items[i].replayed)
			}
		}
		checkAccounts(t, l, "user:u1")
	})
}

func TestBatchMayBeLargerThanOneCommit(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		ops := make([]wallet.Op, 1000)
		for i := range ops {
			ops[i] = newCredit(wallet.Account(fmt.Sprint("user:", i%7)), 1, fmt.Sprint("many", i))
		}
		mustDoBatch(t, l, ops)
		checkAccounts(t, l, "user:0", "user:6")
	})
}
