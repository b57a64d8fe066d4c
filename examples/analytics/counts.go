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

// schema has a trigger that adds an event to its minute. SQLite runs the trigger within the
// statement that inserts the event's id. It does not run the trigger if the id exists already.
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

// event holds the fields of an event that are counted.
type event struct {
	id        string
	eventType string
	reason    string
	feature   string
	points    int64
	time      time.Time
}

// row counts the events of one minute, type, reason and feature.
type row struct {
	Minute  time.Time `json:"minute"` // its beginning
	Type    string    `json:"type"`
	Reason  string    `json:"reason"`
	Feature string    `json:"feature"` // empty: the events have no feature
	Events  int64     `json:"events"`
	Points  int64     `json:"points"`
}

// openCounts opens the SQLite file and creates its tables if they are missing.
func openCounts(ctx context.Context, path string) (*counts, error) {
	q := url.Values{"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, err
	}

	// SQLite allows one writer at a time. Waiting for a connection costs less than waiting for a
	// lock.
	db.SetMaxOpenConns(1)

	_, err = db.ExecContext(ctx, schema)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &counts{db}, nil
}

// addEvent counts an event. It does nothing if the event was counted before.
func (c *counts) addEvent(ctx context.Context, e event) error {
	_, err := c.db.ExecContext(ctx, `
		INSERT INTO events (id, minute, type, reason, feature, points) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO NOTHING`,
		e.id, minuteNumber(e.time), e.eventType, e.reason, e.feature, e.points)
	if err != nil {
		return fmt.Errorf("count event %s: %w", e.id, err)
	}
	return nil
}

// deleteIDs deletes the event ids of the minutes before t. It keeps their counts.
func (c *counts) deleteIDs(ctx context.Context, t time.Time) error {
	_, err := c.db.ExecContext(ctx, `DELETE FROM events WHERE minute < ?`, minuteNumber(t))
	return err
}

// listRows returns at most limit rows of the minutes in [from, to), oldest first. An empty
// eventType selects all types.
func (c *counts) listRows(ctx context.Context, from, to time.Time, eventType string, limit int) (list []row, err error) {
	rows, err := c.db.QueryContext(ctx, `
		SELECT minute, type, reason, feature, events, points FROM minutes
		WHERE minute >= ? AND minute < ? AND (? = '' OR type = ?)
		ORDER BY minute, type, reason, feature LIMIT ?`,
		minuteNumber(from), minuteNumber(to), eventType, eventType, limit)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()

	list = []row{}
	for rows.Next() {
		var r row
		var minute int64
		err := rows.Scan(&minute, &r.Type, &r.Reason, &r.Feature, &r.Events, &r.Points)
		if err != nil {
			return nil, err
		}

		r.Minute = time.Unix(minute*60, 0).UTC()
		list = append(list, r)
	}

	return list, rows.Err()
}

// minuteNumber returns the number of whole minutes since 1970.
func minuteNumber(t time.Time) int64 { return t.Unix() / 60 }
