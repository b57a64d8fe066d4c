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
	"github.com/redroomrewards/realtime/pkg/wallet/internal/pgconn"
)

// scripts/scale sets these flags to make docs/ledger-scale.md.
var (
	scaleDatabase = flag.String("scale.database", "", "URL of a Postgres database to fill and to look at; empty: a fresh one")
	scaleAccounts = flag.Int64("scale.accounts", 300, "users in the history")
	scaleRounds   = flag.Int64("scale.rounds", 5, "transactions of each user")
	scaleOut      = flag.String("scale.out", "", "file for plans and sizes, as Markdown")
)

// parallelPlan matches a plan with parallel workers. Frequent statements are too short for them.
var parallelPlan = regexp.MustCompile(`Parallel`)

// TestPlansWithHistory runs the frequent statements on a ledger with history and checks how
// Postgres ran them.
func TestPlansWithHistory(t *testing.T) {
	t.Parallel()
	s, patient, size := openWithHistory(t)
	conn, err := patient.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, err = conn.ExecContext(t.Context(), `VACUUM (ANALYZE)`)
	if err != nil {
		t.Fatal(err)
	}

	var out strings.Builder
	describeTables(t, conn, &out)
	for _, statement := range listFrequentStatements(t, s, conn, size) {
		t.Run(statement.name, func(t *testing.T) {
			plan := explainFrequentStatement(t, conn, statement)
			fmt.Fprintf(&out, "\n### %s\n\n```\n%s```\n", statement.name, plan)
			for _, bad := range []*regexp.Regexp{badPlan, parallelPlan} {
				if found := bad.FindString(plan); found != "" {
					t.Errorf("the plan has a %s:\n%s", found, plan)
				}
			}
			if !strings.Contains(plan, "Index") && !strings.Contains(plan, "Tid Scan") {
				t.Errorf("the plan uses no index:\n%s", plan)
			}
		})
	}
	if *scaleOut != "" {
		err := os.WriteFile(*scaleOut, []byte(out.String()), 0o600)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// openWithHistory opens a ledger database and fills it with years of history. patient is a pool with
// the ledger's settings, but without time limits.
func openWithHistory(t *testing.T) (s *postgresStore, patient *sql.DB, size ledgerseed.Size) {
	t.Helper()
	url := *scaleDatabase
	if url == "" {
		url = newPostgresDatabase(t)
	}
	err := migrateDatabase(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	s, err = openPostgres(t.Context(), url, Config{MaxConns: 4, MaxReadConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	target, err := pgconn.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	connector := s.newConnector(target, map[string]string{"statement_timeout": "0", "lock_timeout": "0"})
	connector.RoundTrip = 0
	patient = sql.OpenDB(connector)
	t.Cleanup(func() { _ = patient.Close() })
	to := time.Date(2026, time.November, 23, 0, 0, 0, 0, time.UTC)
	size = ledgerseed.Size{
		Accounts: *scaleAccounts,
		Rounds:   *scaleRounds,
		From:     to.AddDate(-7, 0, 0),
		To:       to,
	}
	err = ledgerseed.Fill(t.Context(), patient, size, func(round int64) { t.Logf("round %d is done", round) })
	if err != nil {
		t.Fatal(err)
	}
	return s, patient, size
}

// frequentStatement is a statement that the ledger runs often, with literal arguments.
type frequentStatement struct {
	name string
	sql  string
	args []string
}

func listFrequentStatements(t *testing.T, s *postgresStore, conn *sql.Conn, size ledgerseed.Size) []frequentStatement {
	t.Helper()
	return append(
		listBatchStatements(t, s, conn, size),
		listReadStatements(t, s, conn, size)...)
}

// seededAccount returns the n-th user of a history.
func seededAccount(n int64) Account { return Account(fmt.Sprintf("user:b%08d", n)) }

const operationsInBatch = 64

// listBatchStatements lists the statements of a batch of 64 operations.
func listBatchStatements(t *testing.T, s *postgresStore, conn *sql.Conn, size ledgerseed.Size) []frequentStatement {
	t.Helper()
	accounts := make([]string, operationsInBatch)
	seqs := make([]string, operationsInBatch)
	ops := make([]Op, operationsInBatch)
	for i := range ops {
		a := seededAccount(int64(i) * size.Accounts / operationsInBatch)
		accounts[i] = string(a)
		seqs[i] = "2" // a hold's own event, which has no entry
		ops[i] = newHold(a, 1, fmt.Sprint("scale-", i))
	}
	escrows := queryTexts(t, conn, `SELECT e.id FROM unnest(`+quoteList(accounts)+`::text[]) AS a, LATERAL (SELECT id FROM escrows WHERE user_account = a LIMIT 1) AS e`)
	keys := queryTexts(t, conn, fmt.Sprintf(`SELECT key FROM idempotency_keys WHERE operation = 'settle' LIMIT %d`, operationsInBatch/2))
	operations := make([]string, operationsInBatch)
	for i := range operations {
		operations[i] = "settle"
		if len(keys) <= i {
			keys = append(keys, fmt.Sprint("new-", i))
		}
	}
	write, writeArgs := captureWrite(t, newScaleLedger(s), ops)
	ids := queryTexts(t, conn, `SELECT id FROM transactions LIMIT 64`)
	identity := queryTexts(t, conn, `SELECT `+pgconn.IdentityExpression)[0]
	return []frequentStatement{
		{"Idempotency keys of 64 operations, half of them known", selectKeysSQL, []string{quoteList(operations), quoteList(keys)}},
		{"Lock 64 escrows", selectEscrowsSQL + forUpdate, []string{quoteList(escrows)}},
		{"Lock 64 wallets", selectWalletsSQL + forUpdate, []string{quoteList(accounts)}},
		{"Write a batch of 64 holds", write, writeArgs},
		{"Chains at 64 positions", chainsAtSQL, []string{quoteList(accounts), quoteList(seqs)}},
		{"Newest positions of 64 accounts", positionsSQL, []string{quoteList(accounts)}},
		{"Delete published rows of the outbox", deleteOutboxSQL, []string{"'{1,2,3}'", quoteText(identity)}},
		{"Outbox", outboxBatchesSQL, []string{"0", "1000"}},
		{"Transactions by id", transactionsByIDSQL, []string{quoteList(ids)}},
	}
}

// listReadStatements lists the statements that read one account, and those of housekeeping.
func listReadStatements(t *testing.T, s *postgresStore, conn *sql.Conn, size ledgerseed.Size) []frequentStatement {
	t.Helper()
	account := quoteText(string(seededAccount(size.Accounts / 2)))
	escrow := queryTexts(t, conn, `SELECT id FROM escrows LIMIT 1`)[0]
	newest := queryTexts(t, conn, `SELECT transaction_id FROM entries WHERE account = `+account+` ORDER BY seq DESC LIMIT 1`)[0]
	const maxSeq = "9223372036854775807"
	maxID := quoteText(uuid.Max.String())
	noID := quoteText(uuid.Nil.String())
	yesterday := quoteTime(size.To.AddDate(0, 0, -1))
	hourBefore := quoteText(smallestID(size.To.Add(-time.Hour)).String())
	return []frequentStatement{
		{"Balance", walletSQL, []string{account}},
		{"Balance at a time (one of some steps of halving)", findEntryUpToSQL, []string{account, "7"}},
		{"Entries, newest page", entriesSQL, []string{account, "0", maxSeq, "''", "101"}},
		{"Entries, a page of a time long ago", entriesSQL, []string{account, "3", "8", "''", "101"}},
		{"Entries, oldest first (export)", entriesForwardSQL, []string{account, "0", maxSeq, "''", "1000"}},
		{"Events after a seq", transactionsAfterSQL, []string{account, "2", "100"}},
		{"Transaction", transactionSQL, []string{quoteText(newest)}},
		{"A transaction's entries", transactionEntriesSQL, listEntryArgs(t, s, newest, account)},
		{"Escrow", escrowSQL, []string{quoteText(escrow)}},
		{"Escrows of a user", escrowsSQL, []string{account, maxID, "101", "''", "101"}},
		{"Escrows of a user with a status", escrowsSQL, []string{account, maxID, fmt.Sprint(maxEscrowScan), "'held'", "101"}},
		{"Escrows that expire", dueEscrowsSQL, []string{yesterday, quoteText("-infinity"), noID, "100"}},
		{"Old idempotency keys", deleteOldKeysSQL, []string{quoteTime(size.To.Add(-6 * time.Hour)), "0", "1000"}},
		{"Accounts changed lately", changedSinceSQL, []string{hourBefore, noID, "1000"}},
	}
}

// listEntryArgs returns the arguments with which the ledger reads a transaction's entries.
func listEntryArgs(t *testing.T, s *postgresStore, transaction, account string) []string {
	t.Helper()
	id, err := uuid.Parse(transaction)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := s.readTransaction(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	user := tx.Parties[0]
	model := tx.Parties[1]
	return []string{
		quoteText(transaction),
		account,
		fmt.Sprint(user.Seq - maxLegs),
		fmt.Sprint(user.Seq),
		quoteText(string(model.Account)),
		fmt.Sprint(model.Seq - maxLegs),
		fmt.Sprint(model.Seq),
	}
}

func newScaleLedger(s *postgresStore) *Ledger {
	return newLedger(s, Config{CommitTimeout: testCommitTimeout, Logger: slog.New(slog.DiscardHandler)}.withDefaults())
}

var errCaptured = errors.New("the batch was captured")

// captureWrite returns the statement with which the ledger would write the batch, and its arguments
// as literals.
func captureWrite(t *testing.T, l *Ledger, ops []Op) (statement string, literals []string) {
	t.Helper()
	makeFaulty(l).onWrite = func(m *mutations) error {
		if literals != nil {
			return errCaptured
		}
		write := buildWriteStatement(batchShape(m))
		statement = write.sql
		buffer := newWriteBuffer()
		buffer.encodeBatch(m)
		for i, arg := range buffer.bindArguments(write.parameters) {
			literal := fmt.Sprint(arg)
			if column, ok := arg.([]byte); ok {
				literal = decodeColumn(t, l, statement, i+1, column)
			}
			literals = append(literals, quoteText(literal))
		}
		return errCaptured
	}
	for _, r := range commitBatch(t, l, ops...) {
		if !errors.Is(r.err, errCaptured) {
			t.Fatalf("commit: got error %v, want errCaptured", r.err)
		}
	}
	return statement, literals
}

// decodeColumn has Postgres decode an array that is the n-th parameter of the statement.
func decodeColumn(t *testing.T, l *Ledger, statement string, n int, column []byte) string {
	t.Helper()
	parameter := regexp.MustCompile(fmt.Sprintf(`\$%d::(\w+)\[\]`, n))
	element := parameter.FindStringSubmatch(statement)[1]
	var literal string
	err := l.store.sharedQueries().db.GetContext(t.Context(), &literal, "SELECT $1::"+element+"[]::text", column)
	if err != nil {
		t.Errorf("decode parameter %d: %v", n, err)
	}
	return literal
}

// queryTexts returns the only column of a query.
func queryTexts(t *testing.T, conn *sql.Conn, query string) []string {
	t.Helper()
	rows, err := conn.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var texts []string
	for rows.Next() {
		var text string
		err := rows.Scan(&text)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	err = rows.Err()
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

func quoteText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func quoteTime(t time.Time) string { return quoteText(t.Format(time.RFC3339)) }

func quoteList(texts []string) string { return quoteText("{" + strings.Join(texts, ",") + "}") }

// explainFrequentStatement runs the statement, prepared and planned as the ledger does it, and
// rolls it back.
func explainFrequentStatement(t *testing.T, conn *sql.Conn, statement frequentStatement) string {
	t.Helper()
	tx, err := conn.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	_, err = tx.ExecContext(t.Context(), "PREPARE s AS "+statement.sql)
	if err != nil {
		t.Fatal(err)
	}
	execute := "EXECUTE s"
	if len(statement.args) > 0 {
		execute += "(" + strings.Join(statement.args, ",") + ")"
	}
	// The second run finds in memory the pages that the first one had to read.
	var plan string
	for range 2 {
		rows, err := tx.QueryContext(t.Context(), "SAVEPOINT a; EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) "+execute)
		if err != nil {
			t.Fatal(err)
		}
		plan = readPlan(t, rows)
		_, err = tx.ExecContext(t.Context(), "ROLLBACK TO a")
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err = tx.ExecContext(t.Context(), "DEALLOCATE s")
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// describeTables writes the sizes of tables and indexes as a Markdown table.
func describeTables(t *testing.T, conn *sql.Conn, out *strings.Builder) {
	t.Helper()
	rows, err := conn.QueryContext(t.Context(), `SELECT t.relname, t.reltuples::bigint, pg_size_pretty(pg_table_size(t.oid)), coalesce(i.relname, ''), coalesce(pg_size_pretty(pg_relation_size(i.oid)), '')
		FROM pg_class t LEFT JOIN pg_index x ON x.indrelid = t.oid LEFT JOIN pg_class i ON i.oid = x.indexrelid
		WHERE t.relkind = 'r' AND t.relnamespace = 'public'::regnamespace AND t.relname <> 'realtime_migrations' ORDER BY pg_table_size(t.oid) DESC, pg_relation_size(i.oid) DESC`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	out.WriteString("| table | rows | size | index | size |\n|---|---:|---:|---|---:|\n")
	for rows.Next() {
		var table, tableSize, index, indexSize string
		var n int64
		err := rows.Scan(&table, &n, &tableSize, &index, &indexSize)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(out, "| %s | %d | %s | %s | %s |\n", table, max(n, 0), tableSize, index, indexSize)
	}
	err = rows.Err()
	if err != nil {
		t.Fatal(err)
	}
}
