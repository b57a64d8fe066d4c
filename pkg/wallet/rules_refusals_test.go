package wallet_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// refusalFixture is a ledger with escrows in each state, and with accounts at the limit.
type refusalFixture struct {
	ledger   *wallet.Ledger
	held     uuid.UUID
	settled  uuid.UUID
	refunded uuid.UUID
}

func newRefusalFixture(t *testing.T, url string) *refusalFixture {
	t.Helper()
	l := wallettest.Open(t, url, wallet.Config{})
	mustDo(t, l, newCredit(testUser, 1000, "c1"))
	mustDo(t, l, newCredit("user:rich", wallet.MaxAmount, "c2"))
	mustDo(t, l, newCredit("model:rich", wallet.MaxAmount, "c3"))
	f := &refusalFixture{ledger: l}
	f.held = mustDo(t, l, newHold(testUser, 100, "h1")).EscrowID
	f.settled = mustDo(t, l, newHold(testUser, 100, "h2")).EscrowID
	mustDo(t, l, newSettle(f.settled, testModel, 100, "s2"))
	f.refunded = mustDo(t, l, newHold(testUser, 100, "h3")).EscrowID
	mustDo(t, l, newRefund(f.refunded, 100, "r3"))
	return f
}

// refusal is an operation that the ledger must refuse.
type refusal struct {
	name string
	op   wallet.Op
	want error
}

// listStateRefusals lists valid operations that contradict the state of the ledger.
func (f *refusalFixture) listStateRefusals() []refusal {
	return []refusal{
		{"debit of more than the balance", newDebit(testUser, 801, "admin_debit", "x"), wallet.ErrInsufficientFunds},
		{"hold of more than the balance", newHold(testUser, 801, "x"), wallet.ErrInsufficientFunds},
		{"hold on an unknown account", newHold("user:nobody", 1, "x"), wallet.ErrAccountNotFound},
		{"debit of an unknown account", newDebit("model:nobody", 1, "payout", "x"), wallet.ErrAccountNotFound},
		{"unknown escrow", newSettle(uuid.New(), testModel, 1, "x"), wallet.ErrEscrowNotFound},
		{"settlement of another amount", newSettle(f.held, testModel, 99, "x"), wallet.ErrAmountMismatch},
		{"refund of another amount", newRefund(f.held, 101, "x"), wallet.ErrAmountMismatch},
		{"partial settlement of another sum", newPartialSettle(f.held, testModel, 50, 51, "x"), wallet.ErrAmountMismatch},
		{"second settlement", newSettle(f.settled, testModel, 100, "x"), wallet.ErrEscrowProcessed},
		{"refund of a settled escrow", newRefund(f.settled, 100, "x"), wallet.ErrEscrowProcessed},
		{"settlement of a refunded escrow", newSettle(f.refunded, testModel, 100, "x"), wallet.ErrEscrowProcessed},
		{"key of another request", newCredit(testUser, 999, "c1"), wallet.ErrKeyReused},
		{"balance above the limit", newCredit("user:rich", 1, "x"), wallet.ErrInvalid},
		{"earned balance above the limit", newSettle(f.held, "model:rich", 100, "x"), wallet.ErrInvalid},
	}
}

// listInvalidRefusals lists operations that are invalid whatever the ledger holds.
func (f *refusalFixture) listInvalidRefusals() []refusal {
	longReason := newCredit(testUser, 1, "x")
	longReason.Reason = "a" + strings.Repeat("b", 64)
	longAccount := wallet.Account("user:" + strings.Repeat("a", 129))
	return []refusal{
		{"hold on a model", newHold(testModel, 1, "x"), wallet.ErrInvalid},
		{"settlement to a user", newSettle(f.held, "user:u2", 100, "x"), wallet.ErrInvalid},
		{"partial settlement with a part of 0", newPartialSettle(f.held, testModel, 0, 100, "x"), wallet.ErrInvalid},
		{"amount 0", newCredit(testUser, 0, "x"), wallet.ErrInvalid},
		{"amount -1", newCredit(testUser, -1, "x"), wallet.ErrInvalid},
		{"amount 2^53", newCredit(testUser, 1<<53, "x"), wallet.ErrInvalid},
		{"no key", newCredit(testUser, 1, ""), wallet.ErrInvalid},
		{"key with a blank", newCredit(testUser, 1, "a b"), wallet.ErrInvalid},
		{"key of 256 bytes", newCredit(testUser, 1, strings.Repeat("k", 256)), wallet.ErrInvalid},
		{"reason of 65 bytes", longReason, wallet.ErrInvalid},
		{"account name of 129 bytes", newCredit(longAccount, 1, "x"), wallet.ErrInvalid},
		{"account name with a brace", newCredit("user:{0}", 1, "x"), wallet.ErrInvalid},
		{"system account", newCredit(wallet.SystemIssuance, 1, "x"), wallet.ErrInvalid},
	}
}

func TestRefusedOperationsChangeNothing(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		f := newRefusalFixture(t, url)
		l := f.ledger
		before, err := l.Balance(t.Context(), testUser)
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range append(f.listStateRefusals(), f.listInvalidRefusals()...) {
			t.Run(tc.name, func(t *testing.T) {
				_, err := l.Do(t.Context(), tc.op)
				checkError(t, "operation", err, tc.want)
				checkBalance(t, l, testUser, before)
			})
		}
		// Each operation above had the key x, which is still free.
		credited := mustDo(t, l, newCredit(testUser, 1, "x"))
		checkEqual(t, "credit is replayed", credited.Replayed, false)
		checkEqual(t, "seq after the credit", credited.Balances[0].Seq, before.Seq+1)
		checkAccounts(t, l, testUser, testModel, "user:rich", "model:rich")
	})
}

func TestKeyOfARefusedOperationMayBeUsedAgain(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		mustDo(t, l, newCredit(testUser, 10, "c1"))
		_, err := l.Do(t.Context(), newCredit(testUser, 0, "x"))
		checkError(t, "amount 0", err, wallet.ErrInvalid)
		_, err = l.Do(t.Context(), newHold(testUser, 11, "x"))
		checkError(t, "hold of more than the balance", err, wallet.ErrInsufficientFunds)

		mustDo(t, l, newCredit(testUser, 1, "x"))
		held := mustDo(t, l, newHold(testUser, 11, "x"))
		checkEqual(t, "hold is replayed", held.Replayed, false)
		checkBalance(t, l, testUser, wallet.Balance{Escrow: 11, Seq: 1 + 1 + 3})
		checkAccounts(t, l, testUser)
	})
}
