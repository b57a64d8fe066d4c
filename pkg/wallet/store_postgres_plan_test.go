package wallet

import (
	"database/sql"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
)

var (
	// badPlan matches a plan that reads a whole table, or joins without an index.
	badPlan = regexp.MustCompile(`Seq Scan on (wallets|entries|escrows|transactions|idempotency_keys|outbox|escrow_expiries)|Hash Join|Merge Join`)

	// wholeIndex matches an index scan without a condition, which reads a whole table. It happens when
	// Postgres exchanges the sides of a nested loop.
	wholeIndex = regexp.MustCompile(`Index (Only )?Scan using \w+ on (wallets|entries|escrows|transactions|idempotency_keys|escrow_expiries)[^\n]*\n\s*(->|$|Filter|CTE|[A-Z]\w+ on )`)

	planParameter = regexp.MustCompile(`\$\d+`)
)

// plannedStatement is a statement that the ledger runs often.
type plannedStatement struct {
	name string
	sql  string
	// prepared statements keep their plan. The others are planned at each call, with the table's
	// current size.
	prepared bool
}

func listPlannedStatements() []plannedStatement {
	statements := []plannedStatement{
		{name: "keys", sql: selectKeysSQL, prepared: true},
		{name: "escrows", sql: selectEscrowsSQL, prepared: true},
		{name: "wallets", sql: selectWalletsSQL, prepared: true},
		{name: "lock escrows", sql: selectEscrowsSQL + forUpdate, prepared: true},
		{name: "lock wallets", sql: selectWalletsSQL + forUpdate, prepared: true},
		{name: "outbox", sql: outboxBatchesSQL},
		{name: "journal", sql: journalSQL},
		{name: "first in row", sql: firstInRowSQL},
		{name: "transactions by id", sql: transactionsByIDSQL},
		{name: "transactions after", sql: transactionsAfterSQL},
		{name: "entries", sql: entriesSQL},
		{name: "transaction entries", sql: transactionEntriesSQL},
		{name: "entries after", sql: entriesForwardSQL},
		{name: "entry up to", sql: findEntryUpToSQL},
		{name: "chains at positions", sql: chainsAtSQL},
		{name: "positions", sql: positionsSQL},
		{name: "escrows of a user", sql: escrowsSQL},
	}
	for _, shape := range writeShapes() {
		statements = append(statements, plannedStatement{
			name:     "write " + describeShape(shape),
			sql:      buildWriteStatement(shape).sql,
			prepared: true,
		})
	}
	return statements
}

// TestPlansStayOnIndexes prepares the frequent statements on empty tables and checks the generic
// plans that they keep. On an empty table a generic plan may keep a sequential scan for ever.
func TestPlansStayOnIndexes(t *testing.T) {
	t.Parallel()
	s, err := openPostgres(t.Context(), newPostgresDatabase(t), Config{MaxConns: 2, MaxReadConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	// The statistics of an empty table say that it is tiny. That is worse than no statistics.
	_, err = s.db.ExecContext(t.Context(), "VACUUM ANALYZE")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := s.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	for _, statement := range listPlannedStatements() {
		t.Run(statement.name, func(t *testing.T) {
			plan := explainGenericPlan(t, conn, statement.sql)
			if found := badPlan.FindString(plan); found != "" {
				t.Errorf("the plan has a %s:\n%s", found, plan)
			}
			if found := wholeIndex.FindString(plan); statement.prepared && found != "" {
				t.Errorf("the plan reads a whole table: %q in\n%s", found, plan)
			}
		})
	}
}

// explainGenericPlan prepares the statement and explains it with NULL for each parameter.
func explainGenericPlan(t *testing.T, conn *sql.Conn, statement string) string {
	t.Helper()
	_, err := conn.ExecContext(t.Context(), "PREPARE s AS "+statement)
	if err != nil {
		t.Fatal(err)
	}
	parameters := map[string]bool{}
	for _, p := range planParameter.FindAllString(statement, -1) {
		parameters[p] = true
	}
	nulls := strings.TrimSuffix(strings.Repeat("NULL,", len(parameters)), ",")
	rows, err := conn.QueryContext(t.Context(), "EXPLAIN EXECUTE s("+nulls+")")
	if err != nil {
		t.Fatal(err)
	}
	plan := readPlan(t, rows)
	_, err = conn.ExecContext(t.Context(), "DEALLOCATE s")
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// TestEscrowPagesBeginWithTheirFirstEscrow wants a page to read only its own escrows, not all of
// the user's, with and without statistics.
func TestEscrowPagesBeginWithTheirFirstEscrow(t *testing.T) {
	t.Parallel()
	s, err := openPostgres(t.Context(), newPostgresDatabase(t), Config{MaxConns: 1, MaxReadConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	for _, statement := range []string{
		`INSERT INTO escrows (id, user_account, amount, status, reason, queue_item_id, feature_type, held_by, created_at, closed_by, refund_amount)
			SELECT gen_random_uuid(), 'user:' || substr('abbbb', 1 + i % 5, 1) || CASE WHEN i % 5 > 0 THEN i::text ELSE '' END, 10, 'refunded', 'r', 'q', 'f',
				gen_random_uuid(), now(), gen_random_uuid(), 10 FROM generate_series(1, 20000) AS i`,
		`PREPARE s AS ` + escrowsSQL,
	} {
		_, err := s.db.ExecContext(t.Context(), statement)
		if err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	t.Run("without statistics", func(t *testing.T) { checkEscrowPlans(t, s) })
	_, err = s.db.ExecContext(t.Context(), `VACUUM ANALYZE escrows`)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("with statistics", func(t *testing.T) { checkEscrowPlans(t, s) })
}

func checkEscrowPlans(t *testing.T, s *postgresStore) {
	t.Helper()
	for status, rows := range map[string]int{"held": 101, "": 11} {
		plan := explainEscrowPage(t, s, status)
		// Numbering the rows reads one row ahead.
		want := fmt.Sprintf(`Index Scan Backward using escrows_user on escrows \(actual rows=(%d|%d)\b`, rows, rows+1)
		if !regexp.MustCompile(want).MatchString(plan) {
			t.Errorf("plan with status %q: got\n%s\nwant %s", status, plan, want)
		}
	}
}

func explainEscrowPage(t *testing.T, s *postgresStore, status string) string {
	t.Helper()
	const statement = `EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) EXECUTE s('user:a', '%s', 101, '%s', 11)`
	rows, err := s.db.QueryContext(t.Context(), fmt.Sprintf(statement, uuid.Max, status))
	if err != nil {
		t.Fatal(err)
	}
	return readPlan(t, rows)
}

// readPlan joins the rows of an EXPLAIN.
func readPlan(t *testing.T, rows *sql.Rows) string {
	t.Helper()
	defer func() { _ = rows.Close() }()
	var plan strings.Builder
	for rows.Next() {
		var line string
		err := rows.Scan(&line)
		if err != nil {
			t.Fatal(err)
		}
		plan.WriteString(line + "\n")
	}
	err := rows.Err()
	if err != nil {
		t.Fatal(err)
	}
	return plan.String()
}
