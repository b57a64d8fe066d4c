package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"time"

	_ "modernc.org/sqlite" // the driver
)

// schema: the trigger runs in the statement that inserts the id, and not at all when
// the id is there.
const schema = `
CREATE TABLE IF NOT EXISTS events (
	id TEXT PRIMARY KEY, minute INTEGER NOT NULL, type TEXT NOT NULL, reason TEXT NOT NULL, feature TEXT NOT NULL,
	points INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS events_minute ON events (minute);
CREATE TABLE IF NOT EXISTS minutes (
	minute INTEGER NOT NULL, type TEXT NOT NULL, reason TEXT NOT NULL, feature TEXT NOT NULL,
	events INTEGER NOT NULL, points INTEGER NOT NULL,
	PRIMARY KEY (minute, type, reason, feature)
) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS count_event AFTER INSERT ON events BEGIN
	INSERT INTO minutes (minute, type, reason, feature, events, points)
	VALUES (new.minute, new.type, new.reason, new.feature, 1, new.points)
	ON CONFLICT (minute, type, reason, feature) DO UPDATE SET events = events + 1, points = points + excluded.points;
END;`

// counts is the database.
type counts struct{ db *sql.DB }

// event is what is counted.
type event struct {
	id, kind, reason, feature string
	points                    int64
	at                        time.Time
}

// row is a minute's events of one type, reason and feature.
type row struct {
	Minute  time.Time `json:"minute"` // its beginning
	Type    string    `json:"type"`
	Reason  string    `json:"reason"`
	Feature string    `json:"feature"` // empty: the event has none
	Events  int64     `json:"events"`
	Points  int64     `json:"points"`
}

func openCounts(ctx context.Context, path string) (*counts, error) {
	q := url.Values{"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // SQLite has one writer; waiting here is cheaper than there
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &counts{db}, nil
}

// add counts an event, unless it was counted before.
func (c *counts) add(ctx context.Context, e event) error {
	_, err := c.db.ExecContext(ctx, `
		INSERT INTO events (id, minute, type, reason, feature, points) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO NOTHING`,
		e.id, minute(e.at), e.kind, e.reason, e.feature, e.points)
	if err != nil {
		return fmt.Errorf("count event %s: %w", e.id, err)
	}
	return nil
}

// forget drops the ids of minutes before t; their counts stay.
func (c *counts) forget(ctx context.Context, t time.Time) error {
	_, err := c.db.ExecContext(ctx, `DELETE FROM events WHERE minute < ?`, minute(t))
	return err
}

// list returns the counts of minutes from from to before to, oldest first; an empty kind is
// all types.
func (c *counts) list(ctx context.Context, from, to time.Time, kind string, limit int) (list []row, err error) {
	rows, err := c.db.QueryContext(ctx, `
		SELECT minute, type, reason, feature, events, points FROM minutes
		WHERE minute >= ? AND minute < ? AND (? = '' OR type = ?)
		ORDER BY minute, type, reason, feature LIMIT ?`,
		minute(from), minute(to), kind, kind, limit)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	list = []row{}
	for rows.Next() {
		var r row
		var at int64
		if err := rows.Scan(&at, &r.Type, &r.Reason, &r.Feature, &r.Events, &r.Points); err != nil {
			return nil, err
		}
		r.Minute = time.Unix(at*60, 0).UTC()
		list = append(list, r)
	}
	return list, rows.Err()
}

// minute numbers minutes since 1970.
func minute(t time.Time) int64 { return t.Unix() / 60 }
