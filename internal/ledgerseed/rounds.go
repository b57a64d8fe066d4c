package ledgerseed

import "fmt"

// A credit has one event. A hold has three: its own and those of two balances. A settlement has two
// events for each party. The seqs below follow from that.
const (
	creditSeqs = 1
	holdSeqs   = 3
	pairSeqs   = 5 // of a hold and its settlement, for the user
	modelSeqs  = 2 // of a settlement, for the model
)

// noModel are the columns of a transaction that has no model.
const noModel = "NULL, NULL::bigint, NULL::bigint"

// creditRound credits each user.
func creditRound() round {
	return round{
		operation:     "credit",
		reason:        "user_signup_bonus",
		item:          "''",
		escrow:        "NULL::uuid",
		previous:      "''::bytea",
		modelPrevious: "NULL",
		state:         "available",
		seq:           creditSeqs,
		amount:        StartAmount,
		before:        0,
		second:        fmt.Sprintf("pg_temp.hash('', summary, 'system:issuance', 'system', 1, 0, %d, 0)", -StartAmount),
		entry:         fmt.Sprintf("'system:issuance', NULL, id, 1, 'system', %d, 0, 0", -StartAmount),
		userSeq:       creditSeqs,
		available:     StartAmount,
		held:          0,
		party:         noModel,
		chains:        "decode('0000000000000000', 'hex') || substr(hash, 1, 8)",
	}
}

// holdRound has each user hold points for the pair-th time, from 1.
func holdRound(pair int64) round {
	previous := creditSeqs + pairSeqs*(pair-1)
	available := StartAmount - HoldAmount*pair
	return round{
		operation:     "hold",
		reason:        "chip_menu_purchase",
		feature:       "chip_menu",
		item:          "'q-' || i",
		escrow:        "pg_temp.id(ms, 1, i)",
		previous:      selectHash("named.account", previous),
		modelPrevious: "NULL",
		state:         "available",
		seq:           previous + 2,
		amount:        -HoldAmount,
		before:        available + HoldAmount,
		second:        fmt.Sprintf("pg_temp.hash(hash, summary, account, 'escrow', 1, %d, %d, 0)", previous+3, HoldAmount),
		entry:         fmt.Sprintf("account, %d, id, 1, 'escrow', %d, 0, %[2]d", previous+3, HoldAmount),
		userSeq:       previous + holdSeqs,
		available:     available,
		held:          HoldAmount,
		party:         noModel,
		chains:        "pg_temp.own(previous, id) || substr(hash, 1, 8) || substr(second, 1, 8)",
	}
}

// settleRound settles the hold of the same pair.
func settleRound(pair int64) round {
	previous := creditSeqs + pairSeqs*(pair-1) + holdSeqs
	earned := HoldAmount * pair
	modelSeq := modelSeqs * pair
	return round{
		operation:     "settle",
		reason:        "performance_completed",
		previous:      selectHash("named.account", previous),
		modelPrevious: selectHash("named.model", modelSeq-modelSeqs),
		state:         "escrow",
		seq:           previous + 2,
		amount:        -HoldAmount,
		before:        HoldAmount,
		second: fmt.Sprintf("pg_temp.hash(coalesce(model_previous, ''), summary, model, 'earned', 1, %d, %d, %d)",
			modelSeq, HoldAmount, earned-HoldAmount),
		entry:     fmt.Sprintf("model, %d, id, 1, 'earned', %d, %d, %d", modelSeq, HoldAmount, earned-HoldAmount, earned),
		userSeq:   previous + 2,
		available: StartAmount - HoldAmount*pair,
		held:      0,
		party:     fmt.Sprintf("model, %d, %d", modelSeq, earned),
		chains: "pg_temp.own(previous, id) || substr(hash, 1, 8)" +
			" || pg_temp.own(coalesce(model_previous, decode(repeat('00', 32), 'hex')), id) || substr(second, 1, 8)",
	}
}

func selectHash(account string, seq int64) string {
	return fmt.Sprintf("(SELECT e.hash FROM entries e WHERE e.account = %s AND e.seq = %d)", account, seq)
}

// insertWallets returns the statements that create the accounts with their balances after the
// round.
func (r *round) insertWallets() string {
	statements := fmt.Sprintf(`INSERT INTO wallets (account, available, escrow, earned, seq, hash, updated_at)
		SELECT account, %d, %d, 0, %d, hash, pg_temp.at(ms) FROM round;`, r.available, r.held, r.userSeq)
	if r.operation == "settle" {
		statements += fmt.Sprintf(`INSERT INTO wallets (account, available, escrow, earned, seq, hash, updated_at)
			SELECT account, 0, 0, earned, seq, second, pg_temp.at(ms) FROM (SELECT second, ms, %s FROM round) AS m(second, ms, account, seq, earned);`, r.party)
	}
	return statements
}

// insertEscrows returns the statement that creates the escrows of a round of holds. The next round
// settles them, at the times that settledAt yields, with the numbers of later.
func (r *round) insertEscrows(later, settledAt string) string {
	return fmt.Sprintf(`INSERT INTO escrows (id, user_account, amount, status, reason, queue_item_id, feature_type, held_by, created_at,
			closed_by, closed_at, model_account, settle_amount)
		SELECT %s, account, %d, 'settled', '%s', %s, '%s', id, pg_temp.at(ms), pg_temp.id(%s, 0, %s), pg_temp.at(%[6]s), model, %[2]d FROM round ORDER BY i;`,
		r.escrow, HoldAmount, r.reason, r.item, r.feature, settledAt, later)
}
