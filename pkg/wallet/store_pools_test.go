package wallet

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/prometheus/client_golang/prometheus"
)

// occupyPool takes all connections of a pool until the test ends.
func occupyPool(t *testing.T, db *sqlx.DB) {
	t.Helper()
	for range db.Stats().MaxOpenConnections {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
}

// The ledger commits, publishes and keeps house while reads use all of their connections.
func TestWritesDoNotUseConnectionsOfReads(t *testing.T) {
	t.Parallel()
	forEachDatabase(t, func(t *testing.T, url string) {
		l := runLedger(t, url)
		occupyPool(t, l.reads.db)
		mustDoBatch(t, l, []Op{newCredit("user:u", 100, "k")})
		for i := range 20 {
			expiring := newHold("user:u", 1, fmt.Sprint(i))
			expiring.ExpiresIn = time.Second
			mustDoBatch(t, l, []Op{expiring})
		}
		checkError(t, "refund expired", l.refundExpired(t.Context(), time.Now().Add(time.Minute)), nil)
		checkError(t, "remove old keys", l.removeOldKeys(t.Context(), time.Now()), nil)
		waitForPing(t, l, "")
		checkLedger(t, l)

		rows, err := l.Pending(t.Context(), 0, 100)
		checkError(t, "pending", err, nil)
		checkEqual(t, "pending rows", len(rows), 41)
		updates, err := l.UpdatesAfter(t.Context(), "user:u", 0, 100)
		checkError(t, "updates", err, nil)
		checkEqual(t, "updates", len(updates), 41)
		changed, _, err := l.ChangedSince(t.Context(), time.Time{}, "", 100)
		checkError(t, "changed", err, nil)
		checkEqual(t, "changed accounts", len(changed), 1)
		var ids []int64
		for i := range rows {
			ids = append(ids, rows[i].ID)
		}
		checkError(t, "published", l.Published(t.Context(), ids), nil)
		backlog, _, err := l.Backlog(t.Context())
		checkError(t, "backlog", err, nil)
		checkEqual(t, "backlog", backlog, 0)
	})
}

// Reads are answered while commits and the relay use all of their connections.
func TestReadsDoNotUseConnectionsOfWrites(t *testing.T) {
	t.Parallel()
	forEachDatabase(t, func(t *testing.T, url string) {
		l := runLedger(t, url)
		held := mustDoBatch(t, l, []Op{newCredit("user:u", 100, "c"), newHold("user:u", 10, "h")})[1]
		occupyPool(t, l.store.sharedQueries().db)
		checkBalance(t, l, "user:u", Balance{Available: 90, Escrow: 10, Seq: 4})
		checkEscrowStatus(t, l, held.EscrowID, StatusHeld)

		_, err := l.BalanceAt(t.Context(), "user:u", held.Timestamp.Add(-time.Hour))
		checkError(t, "balance of the past", err, nil)
		entries, _, err := l.Entries(t.Context(), "user:u", EntryFilter{}, Page{})
		checkError(t, "entries", err, nil)
		checkEqual(t, "entries", len(entries), 3)
		events, _, err := l.Events(t.Context(), "user:u", 0, 0)
		checkError(t, "events", err, nil)
		checkEqual(t, "events", len(events), 4)
		escrows, _, err := l.Escrows(t.Context(), "user:u", "", Page{})
		checkError(t, "escrows", err, nil)
		checkEqual(t, "escrows", len(escrows), 1)
		tx, err := l.Transaction(t.Context(), held.TransactionID)
		checkError(t, "transaction", err, nil)
		checkEqual(t, "entries of the transaction", len(tx.Entries), 2)
		exported := 0
		err = l.Export(t.Context(), "user:u", EntryFilter{}, func(*Entry) error {
			exported++
			return nil
		})
		checkError(t, "export", err, nil)
		checkEqual(t, "exported entries", exported, 3)
	})
}

// A connection of reads cannot write.
func TestConnectionsOfReadsAreReadOnly(t *testing.T) {
	t.Parallel()
	forEachDatabase(t, func(t *testing.T, url string) {
		l := runLedger(t, url)
		_, err := l.reads.db.ExecContext(t.Context(), `DELETE FROM outbox`)
		if err == nil {
			t.Error("delete on a connection of reads: got no error")
		}
	})
}

func TestMetricsShowBothPools(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	l := openLedger(t, newPostgresDatabase(t), Config{MaxConns: 2, MaxReadConns: 3, Registerer: reg})
	runUntilCleanup(t, l)
	occupyPool(t, l.reads.db)
	waiting, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := l.Balance(waiting, "user:u")
	checkError(t, "read without a connection", err, context.DeadlineExceeded)

	gauges, counters := gatherPools(t, reg)
	checkEqual(t, "limit of writes", gauges["realtime_ledger_connections_limit writes"], 2)
	checkEqual(t, "limit of reads", gauges["realtime_ledger_connections_limit reads"], 3)
	checkEqual(t, "busy connections of reads", gauges["realtime_ledger_connections reads busy"], 3)
	checkEqual(t, "idle connections of reads", gauges["realtime_ledger_connections reads idle"], 0)
	checkEqual(t, "waits for a connection of reads", counters["realtime_ledger_connection_waits_total reads"], 1)
	if counters["realtime_ledger_connection_wait_seconds_total reads"] <= 0 {
		t.Error("seconds of waiting for a connection of reads: got 0, want more")
	}
}

// gatherPools returns the metrics of the pools, each under its name and its labels.
func gatherPools(t *testing.T, reg *prometheus.Registry) (gauges, counters map[string]float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	gauges = map[string]float64{}
	counters = map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			gauges[name] = m.GetGauge().GetValue()
			counters[name] = m.GetCounter().GetValue()
		}
	}
	return gauges, counters
}
