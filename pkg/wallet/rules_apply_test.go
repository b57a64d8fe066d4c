package wallet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// TestApplyProperties runs random operations, most of them wrong in some way, and
// compares with a model that knows nothing but sums.
func TestApplyProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := &state{wallets: map[Account]*wallet{}, escrows: map[uuid.UUID]*Escrow{}}
		var issued, paid int64
		heads, seqs := map[Account][]byte{}, map[Account]int64{}
		var escrows []uuid.UUID
		at := time.UnixMilli(1_700_000_000_000).UTC()
		for i := range rapid.IntRange(1, 60).Draw(t, "operations") {
			op := drawOp(t, escrows)
			if op.Operation == OpHold {
				op.EscrowID = uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, "escrow", i))
			}
			before := snapshot(st)
			tx, err := applyOp(st, &op, uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, i)), at, at)
			if err != nil {
				if after := snapshot(st); after != before {
					t.Fatalf("%+v was refused (%v) and changed\n%s\nto\n%s", op, err, before, after)
				}
				continue
			}
			switch op.Operation {
			case OpHold:
				escrows = append(escrows, op.EscrowID)
			case OpCredit:
				issued += op.Amount
			case OpDebit:
				paid += op.Amount
			}
			checkTransaction(t, st, &tx, heads, seqs)
		}
		var total, inEscrow, held int64
		for _, w := range st.wallets {
			if w.Available < 0 || w.Escrow < 0 || w.Earned < 0 {
				t.Fatalf("negative balance: %+v", w)
			}
			total += w.Available + w.Escrow + w.Earned
			inEscrow += w.Escrow
		}
		for _, e := range st.escrows {
			if e.Status == StatusHeld {
				held += e.Amount
			} else if e.RefundAmount+e.SettleAmount != e.Amount {
				t.Fatalf("escrow ended with %d + %d of %d", e.RefundAmount, e.SettleAmount, e.Amount)
			}
		}
		if total != issued-paid || inEscrow != held {
			t.Fatalf("issued %d, paid %d, in wallets %d; in escrow %d, held %d", issued, paid, total, inEscrow, held)
		}
	})
}

func drawOp(t *rapid.T, escrows []uuid.UUID) Op {
	users, models := []Account{"user:a", "user:b"}, []Account{"model:x", "model:y"}
	op := Op{
		Operation: rapid.SampledFrom([]Operation{OpCredit, OpCredit, OpDebit, OpHold, OpHold, OpSettle, OpRefund, OpPartialSettle}).Draw(t, "operation"),
		Reason:    "admin_credit", IdempotencyKey: "k",
	}
	amount := rapid.Int64Range(1, 20)
	switch op.Operation {
	case OpCredit, OpDebit:
		op.Account = rapid.SampledFrom(slices.Concat(users, models)).Draw(t, "account")
		op.Amount = amount.Draw(t, "amount")
		if rapid.IntRange(0, 20).Draw(t, "huge") == 0 {
			op.Amount = MaxAmount - amount.Draw(t, "less")
		}
	case OpHold:
		op.Account, op.Amount = rapid.SampledFrom(users).Draw(t, "account"), amount.Draw(t, "amount")
	default:
		op.EscrowID = uuid.NewSHA1(uuid.NameSpaceOID, []byte("none"))
		if len(escrows) > 0 {
			op.EscrowID = rapid.SampledFrom(escrows).Draw(t, "escrow")
		}
		if op.Operation != OpRefund {
			op.Model = rapid.SampledFrom(models).Draw(t, "model")
		}
		if op.Operation == OpPartialSettle {
			op.RefundAmount, op.SettleAmount = amount.Draw(t, "refund"), amount.Draw(t, "settle")
		} else {
			op.Amount = amount.Draw(t, "amount")
		}
	}
	return op
}

func snapshot(st *state) string {
	var rows []string
	for _, w := range st.wallets {
		rows = append(rows, fmt.Sprintf("%+v", *w))
	}
	for _, e := range st.escrows {
		rows = append(rows, fmt.Sprintf("%+v", *e))
	}
	slices.Sort(rows)
	return fmt.Sprint(rows)
}

// checkTransaction checks one committed operation: entries sum to zero, chain
// and seq continue, and the events derived from the transaction alone say what
// its entries say.
func checkTransaction(t *rapid.T, st *state, tx *Transaction, heads map[Account][]byte, seqs map[Account]int64) {
	var sum int64
	bySeq := map[Account]map[int64]*Entry{}
	for i := range tx.Entries {
		e := &tx.Entries[i]
		sum += e.Amount
		if e.Place != i {
			t.Fatalf("entry %d has place %d", i, e.Place)
		}
		if e.State == StateSystem {
			continue
		}
		if want := hashEntry(heads[e.Account], encodeSummary(tx), e); !bytes.Equal(want, e.Hash) {
			t.Fatalf("the chain of %s breaks at seq %d", e.Account, e.Seq)
		}
		heads[e.Account] = e.Hash
		if bySeq[e.Account] == nil {
			bySeq[e.Account] = map[int64]*Entry{}
		}
		bySeq[e.Account][e.Seq] = e
	}
	if sum != 0 {
		t.Fatalf("entries sum to %d", sum)
	}
	for i, g := range deriveUpdates(tx) {
		a := Account(g.Account)
		if g.First() != seqs[a]+1 {
			t.Fatalf("%s: seq %d after %d", a, g.First(), seqs[a])
		}
		updates := 0
		for j := range g.Deliveries {
			d := &g.Deliveries[j]
			seqs[a]++
			if d.Seq != seqs[a] || d.Account != g.Account || !json.Valid(d.Data) || !json.Valid(d.ForAccount()) {
				t.Fatalf("%s: delivery %+v at seq %d", a, d, seqs[a])
			}
			if d.Type != EventBalanceUpdated {
				if d.SecondParty != (i > 0) || j != 0 {
					t.Fatalf("%s is delivery %d of party %d, copy is %v", d.Type, j, i, d.SecondParty)
				}
				continue
			}
			updates++
			var v struct {
				BalanceState                              BalanceState
				BalanceBefore, BalanceAfter, ChangeAmount int64
				LedgerEntryID                             uuid.UUID
			}
			if err := json.Unmarshal(d.Data, &v); err != nil {
				t.Fatal(err)
			}
			e := bySeq[a][d.Seq]
			if e == nil || v.BalanceState != e.State || v.BalanceBefore != e.BalanceBefore || v.BalanceAfter != e.BalanceAfter ||
				v.ChangeAmount != e.Amount || v.LedgerEntryID != entryID(tx.ID, e.Place) {
				t.Fatalf("event %s\ndoes not say what the entry says: %+v", d.Data, e)
			}
		}
		if w := st.wallets[a]; w.Seq != seqs[a] || g.Balance != w.currentBalance() || updates != len(bySeq[a]) {
			t.Fatalf("%s: %d updates for %d entries; balance %+v, wallet %+v", a, updates, len(bySeq[a]), g.Balance, w)
		}
	}
}

func TestEventsShowEachPartyItsOwnView(t *testing.T) {
	tx := Transaction{
		ID: uuid.New(), Operation: OpPartialSettle, Amount: 10, RefundAmount: 4, SettleAmount: 6, Reason: "partial_performance",
		EscrowID: uuid.New(), QueueItemID: "q", CreatedAt: time.UnixMilli(1_700_000_000_000),
		Parties: []Party{{Account: "user:u", Seq: 9, Available: 4}, {Account: "model:m", Seq: 2, Earned: 6}},
	}
	has := func(data []byte, field string) bool { return bytes.Contains(data, []byte(`"`+field+`"`)) }
	for _, op := range []Operation{OpPartialSettle, OpSettle} {
		tx.Operation = op
		g := deriveUpdates(&tx)
		user, model := g[0].Deliveries[0], g[1].Deliveries[0]
		if user.ID != model.ID || user.SecondParty || !model.SecondParty {
			t.Errorf("%s: two events instead of one with two deliveries: %+v, %+v", op, user, model)
		}
		if !bytes.Equal(user.Data, model.Data) || !has(user.Data, "modelEarnedBalance") {
			t.Errorf("%s: the full event is %s and %s", op, user.Data, model.Data)
		}
		if has(user.ForAccount(), "modelEarnedBalance") {
			t.Errorf("%s: the user sees what the model earned: %s", op, user.ForAccount())
		}
		if has(model.ForAccount(), "userAvailableBalance") || has(model.ForAccount(), "userEscrowBalance") || !has(model.ForAccount(), "modelEarnedBalance") {
			t.Errorf("%s: the model's view is %s", op, model.ForAccount())
		}
	}
}

func TestIDsCarryTheirTime(t *testing.T) {
	id, at := newID()
	if since := time.Since(at); since < -time.Second || since > time.Second {
		t.Errorf("the id's time is %v away", since)
	}
	if from := smallestID(at); bytes.Compare(from[:], id[:]) > 0 || !idTime(from).Equal(at) {
		t.Errorf("%v is not the lower bound of %v", from, id)
	}
	if next := smallestID(at.Add(time.Millisecond)); bytes.Compare(next[:], id[:]) <= 0 {
		t.Errorf("%v is in the next millisecond of %v", id, next)
	}
}

func TestIDsDoNotGoBack(t *testing.T) {
	future := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	if id, at, now := newIDAfter(future); !at.Equal(future) || !idTime(id).Equal(future) || id.Version() != 7 || time.Since(now).Abs() > time.Minute {
		t.Errorf("%v at %v, now %v, want a version 7 at %v", id, at, now, future)
	}
	if before, after := smallestID(time.Unix(-1, 0)), smallestID(time.Unix(1, 0)); bytes.Compare(before[:], after[:]) >= 0 {
		t.Errorf("1969 is %v, 1970 %v", before, after)
	}
	if _, at, now := newIDAfter(time.Time{}); time.Since(at) > time.Minute || !at.Equal(now) {
		t.Errorf("without a bound it is %v", at)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("user:u1", "key", "admin_credit", `{"a":1}`, "q", int64(1), uint8(0))
	f.Add("user:{0}:", "a b", "Reason", `{`, "\x00", int64(-1), uint8(2))
	kinds := []Operation{OpCredit, OpDebit, OpHold, OpSettle, OpRefund, OpPartialSettle, "none"}
	f.Fuzz(func(t *testing.T, account, key, reason, metadata, item string, amount int64, kind uint8) {
		op := Op{
			Operation: kinds[int(kind)%len(kinds)], Account: Account(account), Model: Account(account), IdempotencyKey: key, Reason: reason,
			Metadata: json.RawMessage(metadata), QueueItemID: item, FeatureType: item, Amount: amount, EscrowID: uuid.New(),
		}
		err := op.Validate()
		if err != nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTooLarge) {
			t.Fatalf("%+v: %v", op, err)
		}
		if err == nil && (amount < 1 || amount > MaxAmount || !json.Valid([]byte(metadata))) {
			t.Fatalf("%+v passed", op)
		}
	})
}
