-- +goose Up

-- The chains of a transaction; what they are is said in the migration of Postgres.
-- SQLite cannot add a column that is NOT NULL and has no default, so the table is
-- made again. The program provides the function sha256. The result of || is text
-- with the same bytes.
CREATE TABLE transactions_with_chains (
    id             TEXT PRIMARY KEY,
    operation      TEXT NOT NULL CHECK (operation IN ('credit', 'debit', 'hold', 'settle', 'refund', 'partial_settle')),
    amount         INTEGER NOT NULL CHECK (typeof(amount) = 'integer' AND amount > 0),
    refund_amount  INTEGER NOT NULL,
    settle_amount  INTEGER NOT NULL,
    reason         TEXT NOT NULL,
    escrow_id      TEXT,
    queue_item_id  TEXT,
    feature_type   TEXT,
    correlation_id TEXT,
    request_id     TEXT,
    metadata       TEXT,
    user_account   TEXT,
    user_seq       INTEGER,
    user_available INTEGER,
    user_escrow    INTEGER,
    model_account  TEXT,
    model_seq      INTEGER,
    model_earned   INTEGER,
    created_at     INTEGER NOT NULL,
    chains         BLOB NOT NULL
) WITHOUT ROWID;

INSERT INTO transactions_with_chains SELECT
    id, operation, amount, refund_amount, settle_amount, reason, escrow_id, queue_item_id,
    feature_type, correlation_id, request_id, metadata, user_account, user_seq, user_available,
    user_escrow, model_account, model_seq, model_earned, created_at,
    CAST(CASE WHEN user_account IS NULL THEN x'' ELSE substr(user_before, 1, 8)
        || CASE WHEN operation IN ('credit', 'debit') THEN x'' ELSE substr(sha256(CAST(user_before || unhex(id, '-') AS BLOB)), 1, 8) END
        || coalesce(substr((SELECT hash FROM entries WHERE account = user_account AND seq = user_seq - 1 AND transaction_id = id), 1, 8), x'')
        || coalesce(substr((SELECT hash FROM entries WHERE account = user_account AND seq = user_seq AND transaction_id = id), 1, 8), x'') END
    ||
    CASE WHEN model_account IS NULL THEN x'' ELSE substr(model_before, 1, 8)
        || CASE WHEN operation IN ('credit', 'debit') THEN x'' ELSE substr(sha256(CAST(model_before || unhex(id, '-') AS BLOB)), 1, 8) END
        || coalesce(substr((SELECT hash FROM entries WHERE account = model_account AND seq = model_seq - 1 AND transaction_id = id), 1, 8), x'')
        || coalesce(substr((SELECT hash FROM entries WHERE account = model_account AND seq = model_seq AND transaction_id = id), 1, 8), x'') END AS BLOB)
FROM (SELECT *,
    coalesce((SELECT hash FROM entries WHERE account = user_account AND seq < user_seq AND transaction_id <> id ORDER BY seq DESC LIMIT 1), zeroblob(32)) AS user_before,
    coalesce((SELECT hash FROM entries WHERE account = model_account AND seq < model_seq AND transaction_id <> id ORDER BY seq DESC LIMIT 1), zeroblob(32)) AS model_before
    FROM transactions);

DROP TABLE transactions;
ALTER TABLE transactions_with_chains RENAME TO transactions;
-- +goose StatementBegin
CREATE TRIGGER transactions_no_update BEFORE UPDATE ON transactions BEGIN SELECT RAISE(ABORT, 'transactions is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER transactions_no_delete BEFORE DELETE ON transactions BEGIN SELECT RAISE(ABORT, 'transactions is append-only'); END;
-- +goose StatementEnd

-- +goose Down
CREATE TABLE transactions_without_chains (
    id             TEXT PRIMARY KEY,
    operation      TEXT NOT NULL CHECK (operation IN ('credit', 'debit', 'hold', 'settle', 'refund', 'partial_settle')),
    amount         INTEGER NOT NULL CHECK (typeof(amount) = 'integer' AND amount > 0),
    refund_amount  INTEGER NOT NULL,
    settle_amount  INTEGER NOT NULL,
    reason         TEXT NOT NULL,
    escrow_id      TEXT,
    queue_item_id  TEXT,
    feature_type   TEXT,
    correlation_id TEXT,
    request_id     TEXT,
    metadata       TEXT,
    user_account   TEXT,
    user_seq       INTEGER,
    user_available INTEGER,
    user_escrow    INTEGER,
    model_account  TEXT,
    model_seq      INTEGER,
    model_earned   INTEGER,
    created_at     INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO transactions_without_chains SELECT
    id, operation, amount, refund_amount, settle_amount, reason, escrow_id, queue_item_id,
    feature_type, correlation_id, request_id, metadata, user_account, user_seq, user_available,
    user_escrow, model_account, model_seq, model_earned, created_at
FROM transactions;

DROP TABLE transactions;
ALTER TABLE transactions_without_chains RENAME TO transactions;
-- +goose StatementBegin
CREATE TRIGGER transactions_no_update BEFORE UPDATE ON transactions BEGIN SELECT RAISE(ABORT, 'transactions is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER transactions_no_delete BEFORE DELETE ON transactions BEGIN SELECT RAISE(ABORT, 'transactions is append-only'); END;
-- +goose StatementEnd
