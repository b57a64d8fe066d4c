// Package ledgerseed fills an empty Postgres ledger with what years of operations
// would have left in it: millions of rows in minutes, and in each column what the
// ledger itself would have written, hash chains included (wallet.Ledger.Verify
// finds nothing wrong). Benchmarks and tests of plans start from it.
package ledgerseed

import (
	"context"
	"database/sql"
	"database/sql/driver"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Size is how much history to make.
//
// Each user has its own model. The first round credits each user; then holds
// and settlements take turns, a round each, in which every user has one. A round
// is a transaction and two entries for each user.
type Size struct {
	Accounts int64     // users, named user:b00000000 and on: 1 to 99,999,999, no multiple of 7919
	Rounds   int64     // an odd number: nothing stays held
	From, To time.Time // the times of the transactions, evenly spread
}

// What each user is credited at first, and what it holds and settles each time.
const (
	StartAmount = 1_000_000_000
	HoldAmount  = 10
)

//go:embed functions.sql
var functionsSQL string

//go:embed round.sql
var roundSQL string

// Fill makes the history, each round in its own transaction. It continues a
// ledger that an interrupted Fill of the same size has left. Idempotency keys are
// there for the last day's transactions; the outbox is empty. After each round it
// calls progress, which may be nil.
func Fill(ctx context.Context, db *sql.DB, s Size, progress func(round int64)) error {
	if s.Accounts < 1 || s.Accounts > 99_999_999 || s.Accounts%7919 == 0 || s.Rounds < 1 || s.Rounds%2 == 0 {
		return errors.New("history: this number of accounts or rounds is not possible")
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	// Nobody gets this connection next: its settings and functions end with it.
	defer func() { _ = conn.Raw(func(any) error { return driver.ErrBadConn }) }()
	// The entry before is found by its index, however large the table.
	if _, err := conn.ExecContext(ctx, `SET enable_hashjoin = off; SET enable_mergejoin = off; SET statement_timeout = 0; `+functionsSQL); err != nil {
		return err
	}
	var done int64
	if err := conn.QueryRowContext(ctx, `SELECT count(*) FROM transactions`).Scan(&done); err != nil {
		return err
	}
	for n := done / s.Accounts; n < s.Rounds; n++ {
		if err := s.fillRound(ctx, conn, n); err != nil {
			return fmt.Errorf("history, round %d: %w", n, err)
		}
		if progress != nil {
			progress(n)
		}
	}
	return nil
}

func (s *Size) fillRound(ctx context.Context, conn *sql.Conn, n int64) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, s.statements(n)); err != nil {
		return err
	}
	return tx.Commit()
}

// A kind is what the placeholders in round.sql stand for.
type kind struct {
	operation, reason, feature string
	item, escrow               string // expressions, as are the following
	previous                   string // hash of the user's entry before
	state                      string
	seq, amount, before        int64  // of the user's entry
	second                     string // hash of the other entry
	entry                      string // the other entry up to its balance after
	userSeq, available, held   int64  // what the transaction leaves to the user
	party                      string // and to the model: account, seq, earned
	more                       string // statements
}

// statements are those of round n.
func (s *Size) statements(n int64) string {
	from, to := s.From.UnixMilli(), s.To.UnixMilli()
	ms := func(i string) string {
		return fmt.Sprintf("(%d + floor((%s) * %v::float8))::bigint", from, i, float64(to-from)/float64(s.Accounts*s.Rounds))
	}
	var k kind
	pair := (n + 1) / 2 // how many holds there were, with this round's
	switch {
	case n == 0:
		k = credit()
	case n%2 == 1:
		k = hold(pair)
		later := fmt.Sprintf("i + %d", s.Accounts)
		k.more = fmt.Sprintf(`INSERT INTO escrows (id, user_account, amount, status, reason, queue_item_id, feature_type, held_by, created_at,
				closed_by, closed_at, model_account, settle_amount)
			SELECT %s, account, %d, 'settled', '%s', %s, '%s', id, pg_temp.at(ms), pg_temp.id(%s, 0, %s), pg_temp.at(%[6]s), model, %[2]d FROM round ORDER BY i;`,
			k.escrow, HoldAmount, k.reason, k.item, k.feature, ms(later), later)
	default:
		k = settle(pair)
		earlier := fmt.Sprintf("i - %d", s.Accounts)
		k.item = "'q-' || " + "(" + earlier + ")"
		k.escrow = fmt.Sprintf("pg_temp.id(%s, 1, %s)", ms(earlier), earlier)
	}
	if n == s.Rounds-1 {
		k.more += k.wallets()
	}
	return strings.NewReplacer("{accounts}", fmt.Sprint(s.Accounts), "{round}", fmt.Sprint(n), "{ms}", ms("i"), "{to}", fmt.Sprint(to),
		"{operation}", k.operation, "{reason}", k.reason, "{feature}", k.feature, "{item}", k.item, "{escrow}", k.escrow, "{previous}", k.previous,
		"{state}", k.state, "{seq}", fmt.Sprint(k.seq), "{amount}", fmt.Sprint(k.amount), "{before}", fmt.Sprint(k.before),
		"{second}", k.second, "{entry}", k.entry, "{userSeq}", fmt.Sprint(k.userSeq), "{available}", fmt.Sprint(k.available),
		"{held}", fmt.Sprint(k.held), "{party}", k.party, "{more}", k.more).Replace(roundSQL)
}
