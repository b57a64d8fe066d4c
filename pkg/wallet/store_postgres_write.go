package wallet

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq/oid"
)

// The statement that stores a batch, in one round trip. Each array is a column of
// writeColumns. A row that another process wrote first violates a unique index, or is
// left out by the escrow's status or by the hash that the wallet had; then a count is
// not what it should be, and a division by zero ends it all. So it may run alone,
// without locks before it. It locks in the order of a careful batch: the counts come
// first, in their order, the rest after them. A row that moved while its ctid was
// looked up (LATERAL: see postgres.go) fails the comparison, which Postgres repeats
// with the row's new version.
//
// (ON CONFLICT DO NOTHING would look each key up before it inserts it.)
//
// Each part costs something even when it has no rows to write, so a statement that
// runs alone has only the parts that its batch needs.
var writeParts = []struct {
	when     writeKind
	sql      string
	counted  string // name of the part, if its rows are counted
	expected int    // parameter that has their number
}{
	{0, `tx AS (INSERT INTO transactions (id, operation, amount, refund_amount, settle_amount, reason, escrow_id, queue_item_id,
		feature_type, correlation_id, request_id, metadata, user_account, user_seq, user_available, user_escrow,
		model_account, model_seq, model_earned, created_at)
	SELECT * FROM unnest($1::uuid[], $2::text[], $3::int8[], $4::int8[], $5::int8[], $6::text[], $7::uuid[], $8::text[],
		$9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::int8[], $15::int8[], $16::int8[],
		$17::text[], $18::int8[], $19::int8[], $20::timestamptz[]))`, "", 0},
	{0, `e AS (INSERT INTO entries (account, seq, transaction_id, place, state, amount, balance_before, balance_after, hash, created_at)
	SELECT * FROM unnest($23::text[], $24::int8[], $25::uuid[], $26::int2[], $27::text[], $28::int8[], $29::int8[],
		$30::int8[], $31::bytea[], $32::timestamptz[]))`, "", 0},
	{opens, `held AS (INSERT INTO escrows (id, user_account, amount, status, reason, queue_item_id, feature_type, held_by, created_at, expires_at)
	SELECT * FROM unnest($48::uuid[], $49::text[], $50::int8[], $51::text[], $52::text[], $53::text[], $54::text[], $55::uuid[],
		$56::timestamptz[], $57::timestamptz[]))`, "", 0},
	{opensTimed, `due AS (INSERT INTO escrow_expiries (expires_at, escrow_id)
	SELECT t, id FROM unnest($57::timestamptz[], $48::uuid[]) AS d(t, id) WHERE t IS NOT NULL)`, "", 0},
	{endsTimed, `over AS (DELETE FROM escrow_expiries d USING unnest($65::timestamptz[], $58::uuid[]) AS u(t, id),
		LATERAL (SELECT ctid FROM escrow_expiries WHERE expires_at = u.t AND escrow_id = u.id OFFSET 0) AS at
	WHERE d.ctid = at.ctid)`, "", 0},
	{ends, `ended AS (UPDATE escrows x SET status = u.status, closed_by = u.closed_by, closed_at = u.closed_at,
		model_account = u.model, refund_amount = u.refund, settle_amount = u.settle
	FROM unnest($58::uuid[], $59::text[], $60::uuid[], $61::timestamptz[], $62::text[], $63::int8[], $64::int8[])
		AS u(id, status, closed_by, closed_at, model, refund, settle),
		LATERAL (SELECT ctid FROM escrows WHERE id = u.id OFFSET 0) AS at
	WHERE x.ctid = at.ctid AND x.status = 'held' RETURNING 1)`, "ended", 66},
	{changes, `old AS (UPDATE wallets w SET available = u.available, escrow = u.escrow, earned = u.earned, seq = u.seq, hash = u.hash, updated_at = u.updated_at
	FROM unnest($40::text[], $41::int8[], $42::int8[], $43::int8[], $44::int8[], $45::bytea[], $46::timestamptz[], $47::bytea[])
		AS u(account, available, escrow, earned, seq, hash, updated_at, was),
		LATERAL (SELECT ctid FROM wallets WHERE account = u.account OFFSET 0) AS at
	WHERE w.ctid = at.ctid AND w.hash = u.was RETURNING 1)`, "old", 67},
	{creates, `new AS (INSERT INTO wallets (account, available, escrow, earned, seq, hash, updated_at)
	SELECT * FROM unnest($33::text[], $34::int8[], $35::int8[], $36::int8[], $37::int8[], $38::bytea[], $39::timestamptz[]))`, "", 0},
	{0, `k AS (INSERT INTO idempotency_keys (operation, key, request_hash, transaction_id, created_at)
	SELECT * FROM unnest($2::text[], $21::text[], $22::bytea[], $1::uuid[], $20::timestamptz[]) AS k(o, k, hash, id, t) ORDER BY o, k)`, "", 0},
	{0, `box AS (INSERT INTO outbox (transactions) VALUES ($1::uuid[]) RETURNING id)`, "", 0},
}

// writeKind is what a batch needs beside the parts that all need.
type writeKind int

const (
	opens      writeKind = 1 << iota // escrows
	opensTimed                       // escrows that expire
	ends                             // escrows
	endsTimed                        // escrows that expire
	changes                          // wallets
	creates                          // wallets
	writeKinds = 1 << iota
	everyKind  = writeKinds - 1
)

func kindOf(m *mutations) writeKind {
	var k writeKind
	for _, e := range m.opened {
		if k |= opens; !e.ExpiresAt.IsZero() {
			k |= opensTimed
		}
	}
	for _, e := range m.ended {
		if k |= ends; !e.ExpiresAt.IsZero() {
			k |= endsTimed
		}
	}
	for _, w := range m.wallets {
		if w.created {
			k |= creates
		} else {
			k |= changes
		}
	}
	return k
}

var parameters = regexp.MustCompile(`\$(\d+)(?:::(\w+)\[\])?`)

var unnests = regexp.MustCompile(`unnest\(([^()]*)\)(?:\s+AS (\w+)\(([^()]*)\))?`)

// inLockstep writes FROM unnest(a, b) AS u(x, y) as FROM (SELECT unnest(a) AS x, unnest(b) AS y) AS u, which has the
// same rows. In FROM, Postgres keeps each array's values in a store of its own before it joins them; that, and the memory
// for it, which is fetched from the system for each statement anew, were a sixth of its work.
func inLockstep(sql string) string {
	return unnests.ReplaceAllStringFunc(sql, func(s string) string {
		found := unnests.FindStringSubmatch(s)
		arrays, columns := strings.Split(found[1], ","), strings.Split(found[3], ",")
		for i, a := range arrays {
			arrays[i] = "unnest(" + strings.TrimSpace(a) + ")"
			if found[3] != "" {
				arrays[i] += " AS " + strings.TrimSpace(columns[i])
			}
		}
		return "(SELECT " + strings.Join(arrays, ", ") + ") AS " + cmp.Or(found[2], "r")
	})
}

// writeSQL is the statement for a kind of batch, and the numbers that its parameters have in writeParts.
func writeSQL(kind writeKind) (statement string, numbers []int) {
	var parts, counts []string
	for _, p := range writeParts {
		if p.when != 0 && p.when&kind == 0 {
			continue
		}
		parts = append(parts, inLockstep(p.sql))
		if p.counted != "" {
			counts = append(counts, fmt.Sprintf("(SELECT count(*) FROM %s) = $%d", p.counted, p.expected))
		}
	}
	statement = "WITH " + strings.Join(parts, ",\n") + "\nSELECT (SELECT id FROM box)"
	if len(counts) > 0 {
		statement += " / (" + strings.Join(counts, " AND ") + ")::int"
	}
	places := make(map[int]int)
	return parameters.ReplaceAllStringFunc(statement, func(s string) string {
		found := parameters.FindStringSubmatch(s)
		n, _ := strconv.Atoi(found[1])
		if places[n] == 0 {
			numbers = append(numbers, n)
			places[n] = len(numbers)
		}
		return "$" + strconv.Itoa(places[n]) + strings.TrimPrefix(s, "$"+found[1])
	}), numbers
}

// writeStatements are prepared when a batch first needs them, that of every kind when the store is opened.
type writeStatements struct {
	mu       sync.Mutex
	prepared [writeKinds]*writeStatement
}

type writeStatement struct {
	*sqlx.Stmt
	numbers []int
}

func (s *writeStatements) get(ctx context.Context, db *sqlx.DB, kind writeKind) (*writeStatement, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.prepared[kind] == nil {
		statement, numbers := writeSQL(kind)
		stmt, err := db.PreparexContext(ctx, statement)
		if err != nil {
			return nil, err
		}
		s.prepared[kind] = &writeStatement{stmt, numbers}
	}
	return s.prepared[kind], nil
}

func (t *postgresTx) write(ctx context.Context, m *mutations) ([]int64, error) {
	kind := kindOf(m)
	if t.tx != nil {
		kind = everyKind // is prepared: the pool may have no connection left for another one
	}
	stmt, err := t.s.writes.get(ctx, t.s.db, kind)
	if err != nil {
		return nil, err
	}
	var row int64
	columns := writeBuffers.Get().(*writeColumns)
	defer columns.release()
	err = t.stmt(ctx, stmt.Stmt, stmt.Stmt).QueryRowContext(ctx, columns.fill(m, stmt.numbers)...).Scan(&row)
	if lostRace(err) {
		return nil, errConflict
	}
	if err != nil {
		return nil, err
	}
	return outboxIDs(row, len(m.transactions)), nil
}

// writeColumns are the parameters of writeParts, from $1 on. They are used again and again,
// since a batch fills some hundred kilobytes; the driver copies them before it sends.
type writeColumns [65]array

var writeBuffers = sync.Pool{New: func() any { return newWriteColumns() }}

// newWriteColumns takes the columns' types from the statement.
func newWriteColumns() *writeColumns {
	types := map[string]oid.Oid{
		"text": oid.T_text, "int2": oid.T_int2, "int8": oid.T_int8, "uuid": oid.T_uuid, "bytea": oid.T_bytea, "timestamptz": oid.T_timestamptz,
	}
	columns := new(writeColumns)
	for _, p := range writeParts {
		for _, found := range parameters.FindAllStringSubmatch(p.sql, -1) {
			n, _ := strconv.Atoi(found[1])
			columns[n-1].element = types[found[2]]
		}
	}
	return columns
}

func (columns *writeColumns) release() {
	for i := range columns {
		columns[i].reset()
	}
	writeBuffers.Put(columns)
}

// fill turns a batch into columns and returns those that are asked for, and counts of rows, as arguments.
func (columns *writeColumns) fill(m *mutations, numbers []int) []any {
	transactionColumnsOf(m, columns[0:22])
	entryColumnsOf(m, columns[22:32])
	created := 0
	for _, w := range m.wallets {
		if w.created {
			created++
			walletColumnsOf(w, columns[32:39])
		} else {
			walletColumnsOf(w, columns[39:46])
			columns[46].bytes(w.was)
		}
	}
	for _, e := range m.opened {
		c := columns[47:57]
		c[0].uuid(e.ID)
		c[1].text(string(e.User))
		c[2].int(e.Amount)
		c[3].text(string(e.Status))
		c[4].text(e.Reason)
		c[5].text(e.QueueItemID)
		c[6].text(e.FeatureType)
		c[7].uuid(e.HeldBy)
		c[8].time(e.CreatedAt)
		c[9].time(e.ExpiresAt)
	}
	for _, e := range m.ended {
		c := columns[57:65]
		c[0].uuid(e.ID)
		c[1].text(string(e.Status))
		c[2].uuid(e.ClosedBy)
		c[3].time(e.ClosedAt)
		c[4].text(string(e.Model))
		c[5].int(e.RefundAmount)
		c[6].int(e.SettleAmount)
		c[7].time(e.ExpiresAt)
	}
	args := make([]any, len(numbers))
	for i, n := range numbers {
		switch n {
		case 66:
			args[i] = len(m.ended)
		case 67:
			args[i] = len(m.wallets) - created
		default:
			args[i] = columns[n-1].value()
		}
	}
	return args
}

func transactionColumnsOf(m *mutations, c []array) {
	for i := range m.transactions {
		tx := &m.transactions[i]
		c[0].uuid(tx.ID)
		c[1].text(string(tx.Operation))
		c[2].int(tx.Amount)
		c[3].int(tx.RefundAmount)
		c[4].int(tx.SettleAmount)
		c[5].text(tx.Reason)
		c[6].uuid(tx.EscrowID)
		c[7].text(tx.QueueItemID)
		c[8].text(tx.FeatureType)
		c[9].text(tx.CorrelationID)
		c[10].text(tx.RequestID)
		c[11].text(string(tx.Metadata))
		user, model := tx.sides()
		if user != nil {
			c[12].text(string(user.Account))
			c[13].int(user.Seq)
			c[14].int(user.Available)
			c[15].int(user.Escrow)
		} else {
			null(c[12:16])
		}
		if model != nil {
			c[16].text(string(model.Account))
			c[17].int(model.Seq)
			c[18].int(model.Earned)
		} else {
			null(c[16:19])
		}
		c[19].time(tx.CreatedAt)
		c[20].text(m.keys[i].Key)
		c[21].bytes(m.hashes[i][:])
	}
}

func entryColumnsOf(m *mutations, c []array) {
	for i := range m.transactions {
		for j := range m.transactions[i].Entries {
			e := &m.transactions[i].Entries[j]
			c[0].text(string(e.Account))
			if e.State == StateSystem {
				c[1].null()
			} else {
				c[1].int(e.Seq)
			}
			c[2].uuid(e.TransactionID)
			c[3].small(e.Place)
			c[4].text(string(e.State))
			c[5].int(e.Amount)
			c[6].int(e.BalanceBefore)
			c[7].int(e.BalanceAfter)
			c[8].bytes(e.Hash)
			c[9].time(e.CreatedAt)
		}
	}
}

func walletColumnsOf(w *wallet, c []array) {
	c[0].text(string(w.Account))
	c[1].int(w.Available)
	c[2].int(w.Escrow)
	c[3].int(w.Earned)
	c[4].int(w.Seq)
	c[5].bytes(w.Hash)
	c[6].time(w.UpdatedAt)
}

func null(columns []array) {
	for i := range columns {
		columns[i].null()
	}
}
