// Package ledgerseed fills an empty Postgres ledger with years of history: millions of rows in
// minutes. Each column has the value that the ledger itself would have written, including the hash
// chains, so wallet.Ledger.Verify has no findings. Benchmarks and tests of query plans start from
// it.
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

// Size is the size of a history.
//
// Each user has its own model. The first round credits each user. Then rounds of holds and rounds
// of settlements alternate. In a round each user has one transaction with two entries.
type Size struct {
	Accounts int64     // users, named user:b00000000 and on: 1 to 99,999,999, no multiple of 7919
	Rounds   int64     // an odd number, so that no escrow stays held
	From     time.Time // time of the first transaction
	To       time.Time // time after the last one; the times are evenly spread
}

// Each user is credited StartAmount at first, and holds and settles HoldAmount each time.
const (
	StartAmount = 1_000_000_000
	HoldAmount  = 10
)

//go:embed functions.sql
var functionsSQL string

//go:embed round.sql
var roundSQL string

// Fill creates the history, each round in its own transaction. It continues a ledger that an
// interrupted Fill of the same size has left. The transactions of the last day have idempotency
// keys; the outbox is empty. Fill calls progress after each round. progress may be nil.
func Fill(ctx context.Context, db *sql.DB, s Size, progress func(round int64)) error {
	err := s.validate()
	if err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	// ErrBadConn removes the connection from the pool, with its settings and functions.
	defer func() { _ = conn.Raw(func(any) error { return driver.ErrBadConn }) }()
	// Postgres must find the previous entry by its index, however large the table is.
	const settings = `SET enable_hashjoin = off; SET enable_mergejoin = off; SET statement_timeout = 0; `
	_, err = conn.ExecContext(ctx, settings+functionsSQL)
	if err != nil {
		return err
	}

	var transactions int64
	err = conn.QueryRowContext(ctx, `SELECT count(*) FROM transactions`).Scan(&transactions)
	if err != nil {
		return err
	}
	for n := transactions / s.Accounts; n < s.Rounds; n++ {
		err := s.fillRound(ctx, conn, n)
		if err != nil {
			return fmt.Errorf("fill round %d: %w", n, err)
		}
		if progress != nil {
			progress(n)
		}
	}
	return nil
}

func (s *Size) validate() error {
	if s.Accounts < 1 || s.Accounts > 99_999_999 {
		return errors.New("the number of accounts must be from 1 to 99,999,999")
	}
	if s.Accounts%7919 == 0 {
		return errors.New("the number of accounts must not be a multiple of 7919")
	}
	if s.Rounds < 1 || s.Rounds%2 == 0 {
		return errors.New("the number of rounds must be odd")
	}
	return nil
}

func (s *Size) fillRound(ctx context.Context, conn *sql.Conn, n int64) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	_, err = tx.ExecContext(ctx, s.buildStatements(n))
	if err != nil {
		return err
	}
	return tx.Commit()
}

// round has the values of the placeholders in round.sql.
type round struct {
	operation string
	reason    string
	feature   string
	item      string // queue item, as an expression
	escrow    string // its id, as an expression
	state     string

	// The hashes of the previous entries, as expressions.
	previous      string // the user's
	modelPrevious string // the model's

	// The user's entry.
	seq    int64
	amount int64
	before int64

	// The other entry: its hash, and its columns up to the balance after it.
	second string
	entry  string

	// The user's balance after the transaction, and the model's account, seq and earned balance.
	userSeq   int64
	available int64
	held      int64
	party     string

	chains string // of the events, as an expression

	more string // further statements
}

// buildStatements returns the statements of round n.
func (s *Size) buildStatements(n int64) string {
	r := s.newRound(n)
	if n == s.Rounds-1 {
		r.more += r.insertWallets()
	}
	return strings.NewReplacer(
		"{accounts}", fmt.Sprint(s.Accounts),
		"{round}", fmt.Sprint(n),
		"{ms}", s.timeOf("i"),
		"{to}", fmt.Sprint(s.To.UnixMilli()),
		"{operation}", r.operation,
		"{reason}", r.reason,
		"{feature}", r.feature,
		"{item}", r.item,
		"{escrow}", r.escrow,
		"{previous}", r.previous,
		"{modelPrevious}", r.modelPrevious,
		"{state}", r.state,
		"{seq}", fmt.Sprint(r.seq),
		"{amount}", fmt.Sprint(r.amount),
		"{before}", fmt.Sprint(r.before),
		"{second}", r.second,
		"{entry}", r.entry,
		"{userSeq}", fmt.Sprint(r.userSeq),
		"{available}", fmt.Sprint(r.available),
		"{held}", fmt.Sprint(r.held),
		"{party}", r.party,
		"{chains}", r.chains,
		"{more}", r.more,
	).Replace(roundSQL)
}

// newRound returns round n: the credits, then holds and settlements in turn.
func (s *Size) newRound(n int64) round {
	if n == 0 {
		return creditRound()
	}
	pair := (n + 1) / 2
	if n%2 == 1 {
		r := holdRound(pair)
		later := fmt.Sprintf("i + %d", s.Accounts)
		r.more = r.insertEscrows(later, s.timeOf(later))
		return r
	}
	r := settleRound(pair)
	earlier := fmt.Sprintf("i - %d", s.Accounts)
	r.item = "'q-' || (" + earlier + ")"
	r.escrow = fmt.Sprintf("pg_temp.id(%s, 1, %s)", s.timeOf(earlier), earlier)
	return r
}

// timeOf returns the time of transaction i in milliseconds, as an expression.
func (s *Size) timeOf(i string) string {
	from := s.From.UnixMilli()
	to := s.To.UnixMilli()
	step := float64(to-from) / float64(s.Accounts*s.Rounds)
	return fmt.Sprintf("(%d + floor((%s) * %v::float8))::bigint", from, i, step)
}
