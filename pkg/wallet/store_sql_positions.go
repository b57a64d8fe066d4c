package wallet

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// The statements of this file get a list of accounts. On Postgres the list is one array for each
// column. On SQLite it is a JSON array of pairs.

// chainsAtSQL returns, for each wanted position, the account's first entry from its seq on. If that
// is a later entry, the position is an escrow operation's own event, or it does not exist. Then
// previous is the hash of the account's entry before the position.
const (
	chainsAtSQL = `SELECT u.number - 1 AS number, u.seq AS wanted, e.seq, e.hash, e.transaction_id, p.hash AS previous
	FROM unnest($1::text[], $2::int8[]) WITH ORDINALITY AS u(account, seq, number)
		CROSS JOIN LATERAL (SELECT seq, hash, transaction_id FROM entries WHERE account = u.account AND seq >= u.seq ORDER BY seq LIMIT 1) AS e
		LEFT JOIN LATERAL (SELECT hash FROM entries WHERE account = u.account AND seq < u.seq AND e.seq > u.seq ORDER BY seq DESC LIMIT 1) AS p ON true`

	chainsAtSQLite = `WITH u AS MATERIALIZED (SELECT key AS number, value ->> 0 AS account, value ->> 1 AS seq FROM json_each($1))
	SELECT u.number, u.seq AS wanted, e.seq, e.hash, e.transaction_id, CASE WHEN e.seq > u.seq THEN
			(SELECT hash FROM entries WHERE account = u.account AND seq < u.seq ORDER BY seq DESC LIMIT 1) END AS previous
	FROM u CROSS JOIN entries e
	WHERE e.account = u.account AND e.seq = (SELECT min(seq) FROM entries WHERE account = u.account AND seq >= u.seq)`
)

// chainRow is the answer to one wanted position.
type chainRow struct {
	Number      int       `db:"number"` // index of the position
	Wanted      int64     `db:"wanted"` // seq of the position
	Seq         int64     `db:"seq"`
	Hash        []byte    `db:"hash"`
	Transaction uuid.UUID `db:"transaction_id"`
	Previous    []byte    `db:"previous"`
}

// findChain returns the chain at the wanted position. found is false if the account has no event
// with this seq.
func (r *chainRow) findChain() (chain bus.Chain, found bool) {
	switch r.Seq {
	case r.Wanted:
		return hashChain(r.Hash), true
	case r.Wanted + 1: // the own event of the entry's operation
		return ownEventChain(r.Previous, r.Transaction), true
	}

	return 0, false
}

func (s *sqlStore) findChains(ctx context.Context, positions []bus.Position) (chains []bus.Chain, found []bool, err error) {
	chains = make([]bus.Chain, len(positions))
	found = make([]bool, len(positions))
	var rows []chainRow
	if s.isSQLite() {
		err = s.db.SelectContext(ctx, &rows, chainsAtSQLite, encodePositions(positions))
	} else {
		accounts, seqs := positionArrays(positions)
		err = s.db.SelectContext(ctx, &rows, chainsAtSQL, accounts.encode(), seqs.encode())
	}

	if err != nil {
		return nil, nil, err
	}

	for i := range rows {
		r := &rows[i]
		chains[r.Number], found[r.Number] = r.findChain()
	}

	for i := range positions {
		if positions[i].Seq == 0 {
			chains[i] = 0
			found[i] = true
		}
	}

	return chains, found, nil
}

func positionArrays(positions []bus.Position) (accounts, seqs pgArray) {
	accounts = newPgArray(pgText)
	seqs = newPgArray(pgInt8)
	for i := range positions {
		accounts.appendText(positions[i].Account)
		seqs.appendInt8(positions[i].Seq)
	}

	return accounts, seqs
}

// encodePositions returns a JSON array of [account, seq].
func encodePositions(positions []bus.Position) string {
	pairs := make([][2]any, len(positions))
	for i, p := range positions {
		pairs[i] = [2]any{p.Account, p.Seq}
	}

	return encodeJSON(pairs)
}

func encodeJSON(v any) string {
	encoded, _ := json.Marshal(v) // strings and integers can always be marshaled
	return string(encoded)
}

const (
	positionsSQL    = `SELECT account, seq, hash FROM wallets WHERE account = ANY($1::text[])`
	positionsSQLite = `SELECT account, seq, hash FROM wallets WHERE account IN (SELECT value FROM json_each($1))`
)

type positionRow struct {
	Account string `db:"account"`
	Seq     int64  `db:"seq"`
	Hash    []byte `db:"hash"`
}

func (r *positionRow) toPosition() bus.Position {
	return bus.Position{
		Account: r.Account,
		Seq:     r.Seq,
		Chain:   hashChain(r.Hash),
	}
}

func (s *sqlStore) listPositions(ctx context.Context, accounts []string) ([]bus.Position, error) {
	var rows []positionRow
	var err error
	if s.isSQLite() {
		err = s.db.SelectContext(ctx, &rows, positionsSQLite, encodeJSON(accounts))
	} else {
		array := newPgArray(pgText)
		for _, account := range accounts {
			array.appendText(account)
		}

		err = s.db.SelectContext(ctx, &rows, positionsSQL, array.encode())
	}

	return convertRows(rows, (*positionRow).toPosition), err
}
