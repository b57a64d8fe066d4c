package wallet

import (
	"database/sql"
	"fmt"
	"regexp"
	"strings"
	"testing"
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
		"entries after": entriesAfterSQL, "entry up to": entryUpToSQL,
	}
	for kind := range writeKind(writeKinds) {
		statements[fmt.Sprint("write ", kind)], _ = writeSQL(kind)
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
