package wallet

import (
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/ledgerseed"
	"github.com/redroomrewards/realtime/internal/testenv"
)

// What docs/ledger-scale.md is made from; scripts/scale sets them.
var (
	scaleDatabase = flag.String("scale.database", "", "URL of a Postgres database to fill and to look at; empty: a fresh one")
	scaleAccounts = flag.Int64("scale.accounts", 300, "users in the history")
	scaleRounds   = flag.Int64("scale.rounds", 5, "transactions of each user")
	scaleOut      = flag.String("scale.out", "", "file for plans and sizes, as Markdown")
)

// TestPlansWithHistory runs every hot statement on a ledger with history and
// looks at how Postgres did it.
func TestPlansWithHistory(t *testing.T) {
	t.Parallel()
	dsn := *scaleDatabase
	if dsn == "" {
		dsn = testenv.Postgres(t, testenv.Schema{Version: testenv.HashFS(t, migrations), Migrate: migrateForTest})
	}
	if err := migrateForTest(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	s, err := openPostgres(t.Context(), dsn, 4)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.close() }()
	to := time.Date(2026, time.November, 23, 0, 0, 0, 0, time.UTC)
	size := ledgerseed.Size{Accounts: *scaleAccounts, Rounds: *scaleRounds, From: to.AddDate(-7, 0, 0), To: to}
	if err := ledgerseed.Fill(t.Context(), s.db.DB, size, func(round int64) { t.Logf("round %d is there", round) }); err != nil {
		t.Fatal(err)
	}
	conn, err := s.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, statement := range []string{`SET statement_timeout = 0`, `VACUUM (ANALYZE)`} {
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	sizes(t, conn, &out)
	for _, h := range hotStatements(t, s, conn, size) {
		plan := explain(t, conn, h)
		fmt.Fprintf(&out, "\n### %s\n\n```\n%s```\n", h.name, plan)
		if found := badScan.FindString(plan); found != "" {
			t.Errorf("%s has a %s:\n%s", h.name, found, plan)
		}
		if !strings.Contains(plan, "Index") && !strings.Contains(plan, "Tid Scan") {
			t.Errorf("%s uses no index:\n%s", h.name, plan)
		}
	}
	if *scaleOut != "" {
		if err := os.WriteFile(*scaleOut, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// badScan is what no plan of a hot statement may have.
var badScan = regexp.MustCompile(`Seq Scan on (wallets|entries|escrows|transactions|idempotency_keys|outbox|escrow_expiries)|Hash Join|Merge Join|Parallel`)

// hot is a statement that the ledger runs all the time, with literal arguments.
type hot struct {
	name, statement string
	args            []string
}

func hotStatements(t *testing.T, s *postgresStore, conn *sql.Conn, size ledgerseed.Size) []hot {
	t.Helper()
	const many = 64 // operations in a batch
	accounts := make([]string, many)
	ops := make([]Op, many)
	for i := range ops {
		a := accountAt(int64(i) * size.Accounts / many)
		accounts[i] = string(a)
		ops[i] = Op{Operation: OpHold, Account: a, Amount: 1, Reason: "chip_menu_purchase", QueueItemID: "q", FeatureType: "chip_menu", IdempotencyKey: fmt.Sprint("scale-", i)}
	}
	one := quote(accounts[many/2])
	ids := func(query string) []string {
		var ids []string
		rows, err := conn.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	escrows := ids(`SELECT e.id FROM unnest(` + list(accounts) + `::text[]) AS a, LATERAL (SELECT id FROM escrows WHERE user_account = a LIMIT 1) AS e`)
	keys := ids(fmt.Sprintf(`SELECT key FROM idempotency_keys WHERE operation = 'settle' LIMIT %d`, many/2))
	operations := make([]string, many)
	for i := range operations {
		operations[i] = "settle"
		if len(keys) <= i {
			keys = append(keys, fmt.Sprint("new-", i))
		}
	}
	tx := ids(`SELECT transaction_id FROM entries WHERE account = ` + one + ` ORDER BY seq DESC LIMIT 1`)[0]
	l := newLedger(s, Config{Logger: slog.New(slog.DiscardHandler)}.withDefaults())
	id, err := uuid.Parse(tx)
	if err != nil {
		t.Fatal(err)
	}
	newest, err := l.store.readTransaction(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	legs := []string{quote(tx), one, fmt.Sprint(newest.Parties[0].Seq - maxLegs), fmt.Sprint(newest.Parties[0].Seq), quote(string(newest.Parties[1].Account)), fmt.Sprint(newest.Parties[1].Seq - maxLegs), fmt.Sprint(newest.Parties[1].Seq)}
	day := quote(size.To.AddDate(0, 0, -1).Format(time.RFC3339))
	holds, literals := writeLiterals(t, l, ops)
	const far = "9223372036854775807"
	return []hot{
		{"Idempotency keys of 64 operations, half of them known", selectKeysSQL, []string{list(operations), list(keys)}},
		{"Lock 64 escrows", selectEscrowsSQL + forUpdate, []string{list(escrows)}},
		{"Lock 64 wallets", selectWalletsSQL + forUpdate, []string{list(accounts)}},
		{"Write a batch of 64 holds", holds, literals},
		{"Delete published rows of the outbox", deleteOutboxSQL, []string{"'{1,2,3}'"}},
		{"Outbox", outboxBatchesSQL, []string{"0", "1000"}},
		{"Transactions by id", transactionsByIDSQL, []string{list(ids(`SELECT id FROM transactions LIMIT 64`))}},
		{"Balance", walletSQL, []string{one}},
		{"Balance at a time (one of some steps of halving)", findEntryUpToSQL, []string{one, "7"}},
		{"Entries, newest page", entriesSQL, []string{one, "0", far, "''", "101"}},
		{"Entries, a page of a time long ago", entriesSQL, []string{one, "3", "8", "''", "101"}},
		{"Entries, oldest first (export)", entriesForwardSQL, []string{one, "0", far, "''", "1000"}},
		{"Events after a seq", transactionsAfterSQL, []string{one, "2", "100"}},
		{"Transaction", transactionSQL, []string{quote(tx)}},
		{"A transaction's entries", transactionEntriesSQL, legs},
		{"Escrow", escrowSQL, []string{quote(escrows[0])}},
		{"Escrows of a user", escrowsSQL, []string{one, quote(uuid.Max.String()), "101", "''", "101"}},
		{"Escrows of a user with a status", escrowsSQL, []string{one, quote(uuid.Max.String()), fmt.Sprint(maxEscrowScan), "'held'", "101"}},
		{"Escrows that expire", dueEscrowsSQL, []string{day, quote("-infinity"), quote(uuid.Nil.String()), "100"}},
		{"Old idempotency keys", deleteOldKeysSQL, []string{quote(size.To.Add(-6 * time.Hour).Format(time.RFC3339)), "0", "1000"}},
		{"Accounts changed lately", changedSinceSQL, []string{quote(smallestID(size.To.Add(-time.Hour)).String()), quote(uuid.Nil.String()), "1000"}},
	}
}

// accountAt is the n-th user of a history.
func accountAt(n int64) Account { return Account(fmt.Sprintf("user:b%08d", n)) }

// writeLiterals are the statement and the arguments with which the ledger would commit the batch.
func writeLiterals(t *testing.T, l *Ledger, ops []Op) (statement string, literals []string) {
	t.Helper()
	enough := errors.New("seen")
	makeFaulty(l).wrote = func(m *mutations) error {
		if literals == nil {
			write := buildWriteStatement(batchShape(m))
			statement = write.sql
			buffer := newWriteBuffer()
			buffer.encodeBatch(m)
			for i, a := range buffer.bindArguments(write.parameters) {
				if column, ok := a.([]byte); ok { // to text, by Postgres
					kind := regexp.MustCompile(fmt.Sprintf(`\$%d::(\w+)\[\]`, i+1)).FindStringSubmatch(statement)[1]
					var literal string
					if err := l.store.sharedQueries().db.GetContext(t.Context(), &literal, "SELECT $1::"+kind+"[]::text", column); err != nil {
						return err
					}
					a = literal
				}
				literals = append(literals, quote(fmt.Sprint(a)))
			}
		}
		return enough
	}
	for _, r := range commitBatch(t, l, ops...) {
		if !errors.Is(r.err, enough) {
			t.Fatal(r.err)
		}
	}
	return statement, literals
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func list(texts []string) string { return quote("{" + strings.Join(texts, ",") + "}") }

// explain runs the statement, prepared and planned as the ledger's are, and
// takes back what it did.
func explain(t *testing.T, conn *sql.Conn, h hot) string {
	t.Helper()
	tx, err := conn.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), "PREPARE s AS "+h.statement); err != nil {
		t.Fatalf("%s: %v", h.name, err)
	}
	args := ""
	if len(h.args) > 0 {
		args = "(" + strings.Join(h.args, ",") + ")"
	}
	// The second run finds in memory what the first one had to read.
	var plan string
	for range 2 {
		rows, err := tx.QueryContext(t.Context(), "SAVEPOINT a; EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) EXECUTE s"+args)
		if err != nil {
			t.Fatalf("%s: %v", h.name, err)
		}
		plan = readPlan(t, rows)
		if _, err := tx.ExecContext(t.Context(), "ROLLBACK TO a"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tx.ExecContext(t.Context(), "DEALLOCATE s"); err != nil {
		t.Fatal(err)
	}
	return plan
}

func sizes(t *testing.T, conn *sql.Conn, out *strings.Builder) {
	t.Helper()
	rows, err := conn.QueryContext(t.Context(), `SELECT t.relname, t.reltuples::bigint, pg_size_pretty(pg_table_size(t.oid)), coalesce(i.relname, ''), coalesce(pg_size_pretty(pg_relation_size(i.oid)), '')
		FROM pg_class t LEFT JOIN pg_index x ON x.indrelid = t.oid LEFT JOIN pg_class i ON i.oid = x.indexrelid
		WHERE t.relkind = 'r' AND t.relnamespace = 'public'::regnamespace AND t.relname NOT LIKE 'goose%' ORDER BY pg_table_size(t.oid) DESC, pg_relation_size(i.oid) DESC`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	out.WriteString("| table | rows | size | index | size |\n|---|---:|---:|---|---:|\n")
	for rows.Next() {
		var table, tableSize, index, indexSize string
		var n int64
		if err := rows.Scan(&table, &n, &tableSize, &index, &indexSize); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(out, "| %s | %d | %s | %s | %s |\n", table, max(n, 0), tableSize, index, indexSize)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}
