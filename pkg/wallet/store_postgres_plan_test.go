package wallet

import (
	"database/sql"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// TestPlansStayOnIndexes prepares the hot statements on empty tables, the trap
// in which a generic plan keeps a sequential scan for ever, and looks at the
// plans that they keep.
func TestPlansStayOnIndexes(t *testing.T) {
	t.Parallel()
	dsn := postgresDatabase(t)
	s, err := openPostgres(t.Context(), dsn, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.close() }()
	// Statistics of an empty table are worse than none: they say that it is tiny.
	if _, err := s.db.ExecContext(t.Context(), "VACUUM ANALYZE"); err != nil {
		t.Fatal(err)
	}
	conn, err := s.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	parameters := regexp.MustCompile(`\$\d+`)
	bad := regexp.MustCompile(`Seq Scan on (wallets|entries|escrows|transactions|idempotency_keys|outbox|escrow_expiries)|Hash Join|Merge Join`)
	// An index scan without a condition is a whole table: the side of a nested
	// loop that must be looked up row by row was taken as the one to go through.
	whole := regexp.MustCompile(`Index (Only )?Scan using \w+ on (wallets|entries|escrows|transactions|idempotency_keys|escrow_expiries)[^\n]*\n\s*(->|$|Filter|CTE|[A-Z]\w+ on )`)
	statements := map[string]string{
		"keys": selectKeysSQL, "escrows": selectEscrowsSQL, "wallets": selectWalletsSQL, "lock escrows": selectEscrowsSQL + forUpdate, "lock wallets": selectWalletsSQL + forUpdate,
		"outbox": outboxBatchesSQL, "transactions by id": transactionsByIDSQL, "transactions after": transactionsAfterSQL, "entries": entriesSQL, "transaction entries": transactionEntriesSQL,
		"entries after": entriesForwardSQL, "entry up to": findEntryUpToSQL, "escrows of a user": escrowsSQL,
	}
	for _, shape := range writeShapes() {
		statements["write "+describeShape(shape)] = buildWriteStatement(shape).sql
	}
	for name, statement := range statements {
		if _, err := conn.ExecContext(t.Context(), "PREPARE s AS "+statement); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		distinct := map[string]bool{}
		for _, p := range parameters.FindAllString(statement, -1) {
			distinct[p] = true
		}
		nulls := strings.TrimSuffix(strings.Repeat("NULL,", len(distinct)), ",")
		rows, err := conn.QueryContext(t.Context(), "EXPLAIN EXECUTE s("+nulls+")")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		plan := readPlan(t, rows)
		// What is not prepared is planned anew at each call, with the table's size then.
		prepared := name == "keys" || strings.HasSuffix(name, "escrows") || strings.HasSuffix(name, "wallets") || strings.HasPrefix(name, "write")
		if found := whole.FindString(plan); prepared && found != "" {
			t.Errorf("%s goes through a whole table: %q in\n%s", name, found, plan)
		}
		if found := bad.FindString(plan); found != "" {
			t.Errorf("%s has a %s:\n%s", name, found, plan)
		}
		if _, err := conn.ExecContext(t.Context(), "DEALLOCATE s"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEscrowsAreReadInTheirOrder wants a page to begin with the first escrow that it looks at,
// whatever the statistics say, and not with all of the user's.
func TestEscrowsAreReadInTheirOrder(t *testing.T) {
	t.Parallel()
	s, err := openPostgres(t.Context(), postgresDatabase(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.close() }()
	exec := func(statement string) {
		t.Helper()
		if _, err := s.db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	explain := func(status string) string {
		t.Helper()
		rows, err := s.db.QueryContext(t.Context(), `EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) EXECUTE s('user:a', '`+uuid.Max.String()+`', 101, '`+status+`', 11)`)
		if err != nil {
			t.Fatal(err)
		}
		return readPlan(t, rows)
	}
	exec(`INSERT INTO escrows (id, user_account, amount, status, reason, queue_item_id, feature_type, held_by, created_at, closed_by, refund_amount)
		SELECT gen_random_uuid(), 'user:' || substr('abbbb', 1 + i % 5, 1) || CASE WHEN i % 5 > 0 THEN i::text ELSE '' END, 10, 'refunded', 'r', 'q', 'f',
			gen_random_uuid(), now(), gen_random_uuid(), 10 FROM generate_series(1, 20000) AS i`)
	exec(`PREPARE s AS ` + escrowsSQL)
	for _, statistics := range []string{"none", "all"} {
		for status, rows := range map[string]int{"held": 101, "": 11} {
			plan := explain(status)
			// Numbering rows reads one ahead.
			want := fmt.Sprintf(`Index Scan Backward using escrows_user on escrows \(actual rows=(%d|%d)\b`, rows, rows+1)
			if !regexp.MustCompile(want).MatchString(plan) {
				t.Errorf("with status %q and statistics of %s:\n%s", status, statistics, plan)
			}
		}
		exec(`VACUUM ANALYZE escrows`)
	}
}

func readPlan(t *testing.T, rows *sql.Rows) string {
	t.Helper()
	defer func() { _ = rows.Close() }()
	var b strings.Builder
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		b.WriteString(line + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
