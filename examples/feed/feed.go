package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lib/pq"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// eventTypes are the events that get a row in the feed.
var eventTypes = []string{
	wallet.EventEscrowHeld,
	wallet.EventEscrowSettled,
	wallet.EventEscrowRefunded,
	wallet.EventEscrowPartialSettled,
	wallet.EventBalanceUpdated,
}

// createTable takes a lock, because CREATE TABLE IF NOT EXISTS can fail when two processes start at
// the same time.
const createTable = `
SELECT pg_advisory_xact_lock(hashtextextended('activity_feed', 0));
CREATE TABLE IF NOT EXISTS activity_feed (
	event_id    text PRIMARY KEY,
	event_type  text NOT NULL,
	account     text NOT NULL,
	seq         bigint NOT NULL,
	amount      bigint NOT NULL,
	reason      text NOT NULL,
	happened_at timestamptz NOT NULL,
	event       jsonb NOT NULL
)`

const insertRow = `
INSERT INTO activity_feed (event_id, event_type, account, seq, amount, reason, happened_at, event)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (event_id) DO NOTHING`

// dataException is the class of Postgres errors for a value that cannot be stored, such as "\u0000"
// in a jsonb. A retry fails again.
const dataException = "22"

// feed is the table. As a bus.Handler it may get the same event any number of times.
type feed struct{ db *sql.DB }

// openFeed connects to the database and creates the table if it is missing. It gives up after 10
// seconds.
func openFeed(ctx context.Context, url string) (*feed, error) {
	db, err := sql.Open("postgres", url)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}

	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)

	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err = db.ExecContext(ctx, createTable)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create the feed's table: %w", err), db.Close())
	}
	return &feed{db}, nil
}

// Handle inserts the event's row if it is missing. The bus leaves out the second party's copy of an
// event, so the account in the row is the first party's: the user.
func (f *feed) Handle(ctx context.Context, e *bus.Event) error {
	var header wallet.EventHeader
	err := json.Unmarshal(e.Data, &header)
	if err != nil {
		return bus.Permanent(fmt.Errorf("decode %s: %w", e.Type, err))
	}

	err = header.Check()
	if err != nil {
		return bus.Permanent(err)
	}

	_, err = f.db.ExecContext(ctx, insertRow,
		e.ID, e.Type, e.Account, e.Seq, e.Amount, e.Reason, header.Timestamp, string(e.Data))
	var pqErr *pq.Error
	if errors.As(err, &pqErr) && pqErr.Code.Class() == dataException {
		return bus.Permanent(err)
	}
	return err
}
