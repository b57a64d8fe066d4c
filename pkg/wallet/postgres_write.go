package wallet

import (
	"context"
	"sync"
)

// writeBatchSQL stores a batch in one statement and one round trip. Each array
// is a column. Rows that another process wrote first are left out by ON CONFLICT
// or by the status guard and show in the counts. Wallets and escrows are locked, so
// their rows stay where their ctid says (LATERAL: see postgres.go).
const writeBatchSQL = `WITH
tx AS (INSERT INTO transactions (id, operation, amount, refund_amount, settle_amount, reason, escrow_id, queue_item_id,
		feature_type, correlation_id, request_id, metadata, user_account, user_seq, user_available, user_escrow,
		model_account, model_seq, model_earned, created_at)
	SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::uuid[], $8::text[],
		$9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::bigint[], $15::bigint[], $16::bigint[],
		$17::text[], $18::bigint[], $19::bigint[], $20::timestamptz[])),
k AS (INSERT INTO idempotency_keys (operation, key, request_hash, transaction_id, created_at)
	SELECT * FROM unnest($2::text[], $21::text[], $22::bytea[], $1::uuid[], $20::timestamptz[]) AS k(o, k) ORDER BY o, k
	ON CONFLICT DO NOTHING RETURNING 1),
e AS (INSERT INTO entries (account, seq, transaction_id, place, state, amount, balance_before, balance_after, hash, created_at)
	SELECT * FROM unnest($23::text[], $24::bigint[], $25::uuid[], $26::smallint[], $27::text[], $28::bigint[], $29::bigint[],
		$30::bigint[], $31::bytea[], $32::timestamptz[])),
new AS (INSERT INTO wallets (account, available, escrow, earned, seq, hash, updated_at)
	SELECT * FROM unnest($33::text[], $34::bigint[], $35::bigint[], $36::bigint[], $37::bigint[], $38::bytea[], $39::timestamptz[])
	ON CONFLICT DO NOTHING RETURNING 1),
old AS (UPDATE wallets w SET available = u.available, escrow = u.escrow, earned = u.earned, seq = u.seq, hash = u.hash, updated_at = u.updated_at
	FROM unnest($40::text[], $41::bigint[], $42::bigint[], $43::bigint[], $44::bigint[], $45::bytea[], $46::timestamptz[])
		AS u(account, available, escrow, earned, seq, hash, updated_at),
		LATERAL (SELECT ctid FROM wallets WHERE account = u.account OFFSET 0) AS at
	WHERE w.ctid = at.ctid RETURNING 1),
held AS (INSERT INTO escrows (id, user_account, amount, status, reason, queue_item_id, feature_type, held_by, created_at, expires_at)
	SELECT * FROM unnest($47::uuid[], $48::text[], $49::bigint[], $50::text[], $51::text[], $52::text[], $53::text[], $54::uuid[],
		$55::timestamptz[], $56::timestamptz[])),
due AS (INSERT INTO escrow_expiries (expires_at, escrow_id)
	SELECT t, id FROM unnest($56::timestamptz[], $47::uuid[]) AS d(t, id) WHERE t IS NOT NULL),
ended AS (UPDATE escrows x SET status = u.status, closed_by = u.closed_by, closed_at = u.closed_at,
		model_account = u.model, refund_amount = u.refund, settle_amount = u.settle
	FROM unnest($57::uuid[], $58::text[], $59::uuid[], $60::timestamptz[], $61::text[], $62::bigint[], $63::bigint[], $64::timestamptz[])
		AS u(id, status, closed_by, closed_at, model, refund, settle, expires_at),
		LATERAL (SELECT ctid FROM escrows WHERE id = u.id AND status = 'held' OFFSET 0) AS at
	WHERE x.ctid = at.ctid RETURNING 1),
over AS (DELETE FROM escrow_expiries d USING unnest($64::timestamptz[], $57::uuid[]) AS u(t, id),
		LATERAL (SELECT ctid FROM escrow_expiries WHERE expires_at = u.t AND escrow_id = u.id OFFSET 0) AS at
	WHERE d.ctid = at.ctid),
box AS (INSERT INTO outbox (transactions) VALUES ($1::uuid[]) RETURNING id)
SELECT (SELECT count(*) FROM k), (SELECT count(*) FROM new), (SELECT count(*) FROM old), (SELECT count(*) FROM ended), (SELECT id FROM box)`

func (t *postgresTx) write(ctx context.Context, m *mutations) ([]int64, error) {
	var keys, created, changed, ended int
	var row int64
	columns := writeBuffers.Get().(*writeColumns)
	defer columns.release()
	err := t.tx.StmtxContext(ctx, t.s.writeBatch).QueryRowContext(ctx, columns.fill(m)...).Scan(&keys, &created, &changed, &ended, &row)
	if lostRace(err) {
		return nil, errConflict
	}
	if err != nil {
		return nil, err
	}
	for _, w := range m.wallets {
		if w.created {
			created--
		} else {
			changed--
		}
	}
	if keys != len(m.keys) || created != 0 || changed != 0 || ended != len(m.ended) {
		return nil, errConflict
	}
	return outboxIDs(row, len(m.transactions)), nil
}

// writeColumns are the parameters of writeBatchSQL. They are used again and again,
// since a batch fills some hundred kilobytes; the driver copies them before it sends.
type writeColumns [64]array

var writeBuffers = sync.Pool{New: func() any { return new(writeColumns) }}

func (columns *writeColumns) release() {
	const keep = 1 << 18 // of each column: a huge batch's buffers are not kept
	for i := range columns {
		if columns[i].b = columns[i].b[:0]; cap(columns[i].b) > keep {
			columns[i].b = nil
		}
	}
	writeBuffers.Put(columns)
}

// fill turns a batch into columns and returns them as arguments.
func (columns *writeColumns) fill(m *mutations) []any {
	transactionColumnsOf(m, columns[0:22])
	entryColumnsOf(m, columns[22:32])
	for _, w := range m.wallets {
		if w.created {
			walletColumnsOf(w, columns[32:39])
		} else {
			walletColumnsOf(w, columns[39:46])
		}
	}
	for _, e := range m.opened {
		c := columns[46:56]
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
		c := columns[56:64]
		c[0].uuid(e.ID)
		c[1].text(string(e.Status))
		c[2].uuid(e.ClosedBy)
		c[3].time(e.ClosedAt)
		c[4].text(string(e.Model))
		c[5].int(e.RefundAmount)
		c[6].int(e.SettleAmount)
		c[7].time(e.ExpiresAt)
	}
	args := make([]any, len(columns))
	for i := range columns {
		args[i] = columns[i].value()
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
			c[3].int(int64(e.Place))
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
