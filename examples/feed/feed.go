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

// types are the event types in the feed.
var types = []string{
	wallet.EventEscrowHeld, wallet.EventEscrowSettled, wallet.EventEscrowRefunded,
	wallet.EventEscrowPartialSettled, wallet.EventBalanceUpdated,
}

// The lock is for two that start at once: CREATE TABLE IF NOT EXISTS alone can fail then.
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

// feed is the table. It is a bus.Handler that may get an event any number of times.
type feed struct{ db *sql.DB }

// openFeed connects within 10 seconds and creates the table if need be.
func openFeed(ctx context.Context, url string) (*feed, error) {
	db, err := sql.Open("postgres", url)
	if err != nil {
		return nil, fmt.Errorf("database url: %w", err)
	}
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := db.ExecContext(ctx, createTable); err != nil {
		return nil, errors.Join(fmt.Errorf("create the feed's table: %w", err), db.Close())
	}
	return &feed{db}, nil
}

// Handle writes the event's row unless it is there. The bus leaves out the second
// party's copy of an event, so the row has the account of the first: the user.
func (f *feed) Handle(ctx context.Context, e *bus.Event) error {
	var h wallet.EventHeader
	if err := json.Unmarshal(e.Data, &h); err != nil {
		return bus.Permanent(fmt.Errorf("decode %s: %w", e.Type, err))
	}
	if err := h.Check(); err != nil {
		return bus.Permanent(err)
	}
	_, err := f.db.ExecContext(ctx, insertRow, e.ID, e.Type, e.Account, e.Seq, e.Amount, e.Reason, h.Timestamp, string(e.Data))
	var refused *pq.Error
	if errors.As(err, &refused) && refused.Code.Class() == "22" {
		return bus.Permanent(err) // the value itself is what Postgres cannot hold: "\u0000" in a jsonb
	}
	return err
}
