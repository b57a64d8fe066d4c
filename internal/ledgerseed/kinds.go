package ledgerseed

import "fmt"

// Seqs: a credit is one event; a hold is three, its own and two balances'; a
// settlement is two for each party.

func credit() kind {
	return kind{
		operation: "credit", reason: "user_signup_bonus", item: "''", escrow: "NULL::uuid", previous: "''::bytea",
		state: "available", seq: 1, amount: StartAmount, before: 0,
		second:  fmt.Sprintf("pg_temp.hash('', summary, 'system:issuance', 'system', 1, 0, %d, 0)", -StartAmount),
		entry:   fmt.Sprintf("'system:issuance', NULL, id, 1, 'system', %d, 0, 0", -StartAmount),
		userSeq: 1, available: StartAmount, held: 0, party: "NULL, NULL::bigint, NULL::bigint",
	}
}

// hold is a user's hold number pair, from 1.
func hold(pair int64) kind {
	previous := 1 + 5*(pair-1)
	available := StartAmount - HoldAmount*pair
	return kind{
		operation: "hold", reason: "chip_menu_purchase", feature: "chip_menu", item: "'q-' || i", escrow: "pg_temp.id(ms, 1, i)",
		previous: hashAt("summed.account", previous),
		state:    "available", seq: previous + 2, amount: -HoldAmount, before: available + HoldAmount,
		second:  fmt.Sprintf("pg_temp.hash(hash, summary, account, 'escrow', 1, %d, %d, 0)", previous+3, HoldAmount),
		entry:   fmt.Sprintf("account, %d, id, 1, 'escrow', %d, 0, %[2]d", previous+3, HoldAmount),
		userSeq: previous + 3, available: available, held: HoldAmount, party: "NULL, NULL::bigint, NULL::bigint",
	}
}

// settle ends the hold of the same number.
func settle(pair int64) kind {
	previous := 1 + 5*(pair-1) + 3
	earned := HoldAmount * pair
	return kind{
		operation: "settle", reason: "performance_completed",
		previous: hashAt("summed.account", previous),
		state:    "escrow", seq: previous + 2, amount: -HoldAmount, before: HoldAmount,
		second: fmt.Sprintf("pg_temp.hash(coalesce(%s, ''), summary, model, 'earned', 1, %d, %d, %d)",
			hashAt("hashed.model", 2*(pair-1)), 2*pair, HoldAmount, earned-HoldAmount),
		entry:   fmt.Sprintf("model, %d, id, 1, 'earned', %d, %d, %d", 2*pair, HoldAmount, earned-HoldAmount, earned),
		userSeq: previous + 2, available: StartAmount - HoldAmount*pair, held: 0,
		party: fmt.Sprintf("model, %d, %d", 2*pair, earned),
	}
}

func hashAt(account string, seq int64) string {
	return fmt.Sprintf("(SELECT e.hash FROM entries e WHERE e.account = %s AND e.seq = %d)", account, seq)
}

// wallets makes the accounts as the last round leaves them.
func (k *kind) wallets() string {
	s := fmt.Sprintf(`INSERT INTO wallets (account, available, escrow, earned, seq, hash, updated_at)
		SELECT account, %d, %d, 0, %d, hash, pg_temp.at(ms) FROM round;`, k.available, k.held, k.userSeq)
	if k.operation == "settle" {
		s += fmt.Sprintf(`INSERT INTO wallets (account, available, escrow, earned, seq, hash, updated_at)
			SELECT account, 0, 0, earned, seq, second, pg_temp.at(ms) FROM (SELECT second, ms, %s FROM round) AS m(second, ms, account, seq, earned);`, k.party)
	}
	return s
}
