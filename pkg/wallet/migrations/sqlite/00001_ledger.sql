-- +goose Up

-- The same ledger as on Postgres; what the columns mean is said there. Times are
-- milliseconds since 1970, identifiers are text. typeof() guards against SQLite's
-- silent change of an overflowing integer to a float.
CREATE TABLE wallets (
    account    TEXT PRIMARY KEY,
    available  INTEGER NOT NULL CHECK (typeof(available) = 'integer' AND available >= 0),
    escrow     INTEGER NOT NULL CHECK (typeof(escrow) = 'integer' AND escrow >= 0),
    earned     INTEGER NOT NULL CHECK (typeof(earned) = 'integer' AND earned >= 0),
    seq        INTEGER NOT NULL CHECK (typeof(seq) = 'integer' AND seq >= 0),
    hash       BLOB NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE transactions (
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

CREATE TABLE entries (
    account        TEXT NOT NULL,
    seq            INTEGER,
    transaction_id TEXT NOT NULL,
    place          INTEGER NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('available', 'escrow', 'earned', 'system')),
    amount         INTEGER NOT NULL CHECK (typeof(amount) = 'integer' AND amount <> 0),
    balance_before INTEGER NOT NULL CHECK (typeof(balance_before) = 'integer' AND balance_before >= 0),
    balance_after  INTEGER NOT NULL CHECK (typeof(balance_after) = 'integer' AND balance_after >= 0),
    hash           BLOB NOT NULL,
    created_at     INTEGER NOT NULL,
    CHECK (CASE WHEN state = 'system' THEN seq IS NULL AND balance_before = 0 AND balance_after = 0
                ELSE seq IS NOT NULL AND balance_after = balance_before + amount END)
);
CREATE UNIQUE INDEX entries_account_seq ON entries (account, seq) WHERE seq IS NOT NULL;
CREATE UNIQUE INDEX entries_system_transaction ON entries (transaction_id) WHERE seq IS NULL;

CREATE TABLE escrows (
    id              TEXT PRIMARY KEY,
    user_account    TEXT NOT NULL,
    amount          INTEGER NOT NULL CHECK (typeof(amount) = 'integer' AND amount > 0),
    status          TEXT NOT NULL CHECK (status IN ('held', 'settled', 'refunded', 'partially_settled')),
    reason          TEXT NOT NULL,
    queue_item_id   TEXT NOT NULL,
    feature_type    TEXT NOT NULL,
    held_by         TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    closed_by       TEXT,
    closed_at       INTEGER,
    model_account   TEXT,
    refund_amount   INTEGER NOT NULL DEFAULT 0,
    settle_amount   INTEGER NOT NULL DEFAULT 0,
    CHECK (CASE WHEN status = 'held' THEN closed_by IS NULL AND refund_amount = 0 AND settle_amount = 0
                ELSE closed_by IS NOT NULL AND refund_amount + settle_amount = amount END)
) WITHOUT ROWID;
CREATE INDEX escrows_user ON escrows (user_account, id);

CREATE TABLE escrow_expiries (
    expires_at INTEGER NOT NULL,
    escrow_id  TEXT NOT NULL,
    PRIMARY KEY (expires_at, escrow_id)
) WITHOUT ROWID;

CREATE TABLE idempotency_keys (
    operation      TEXT NOT NULL,
    key            TEXT NOT NULL,
    request_hash   BLOB NOT NULL,
    transaction_id TEXT NOT NULL,
    created_at     INTEGER NOT NULL,
    PRIMARY KEY (operation, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

CREATE TABLE outbox (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    transaction_id TEXT NOT NULL
);

CREATE TABLE layout (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    namespace  TEXT NOT NULL,
    partitions INTEGER NOT NULL CHECK (partitions > 0)
);

-- +goose StatementBegin
CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'entries is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'entries is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER transactions_no_update BEFORE UPDATE ON transactions BEGIN SELECT RAISE(ABORT, 'transactions is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER transactions_no_delete BEFORE DELETE ON transactions BEGIN SELECT RAISE(ABORT, 'transactions is append-only'); END;
-- +goose StatementEnd

-- +goose Down
DROP TABLE layout;
DROP TABLE outbox;
DROP TABLE idempotency_keys;
DROP TABLE escrow_expiries;
DROP TABLE escrows;
DROP TABLE entries;
DROP TABLE transactions;
DROP TABLE wallets;
