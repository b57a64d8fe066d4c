-- +goose Up

-- One row per account; the row lock orders the account's changes.
CREATE TABLE wallets (
    account    text COLLATE "C" PRIMARY KEY,
    available  bigint NOT NULL CHECK (available >= 0),
    escrow     bigint NOT NULL CHECK (escrow >= 0),
    earned     bigint NOT NULL CHECK (earned >= 0),
    seq        bigint NOT NULL CHECK (seq >= 0),
    hash       bytea NOT NULL,              -- of the account's newest entry
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);

-- One row per committed operation, with what it left behind for each party, so
-- that its receipt and its events can be derived from this row alone.
CREATE TABLE transactions (
    id             uuid PRIMARY KEY,        -- UUIDv7: in order of time
    operation      text COLLATE "C" NOT NULL CHECK (operation IN ('credit', 'debit', 'hold', 'settle', 'refund', 'partial_settle')),
    amount         bigint NOT NULL CHECK (amount > 0),
    refund_amount  bigint NOT NULL,
    settle_amount  bigint NOT NULL,
    reason         text COLLATE "C" NOT NULL,
    escrow_id      uuid,
    queue_item_id  text COLLATE "C",
    feature_type   text COLLATE "C",
    correlation_id text COLLATE "C",
    request_id     text COLLATE "C",
    metadata       text,                    -- a JSON object, kept byte for byte since it is hashed
    user_account   text COLLATE "C",
    user_seq       bigint,
    user_available bigint,
    user_escrow    bigint,
    model_account  text COLLATE "C",
    model_seq      bigint,
    model_earned   bigint,
    created_at     timestamptz NOT NULL     -- the time in id
);

-- Double entry: the entries of a transaction sum to zero. System accounts have
-- no running balance and no seq.
CREATE TABLE entries (
    account        text COLLATE "C" NOT NULL,
    seq            bigint,
    transaction_id uuid NOT NULL,
    place          smallint NOT NULL,
    state          text COLLATE "C" NOT NULL CHECK (state IN ('available', 'escrow', 'earned', 'system')),
    amount         bigint NOT NULL CHECK (amount <> 0),
    balance_before bigint NOT NULL CHECK (balance_before >= 0),
    balance_after  bigint NOT NULL CHECK (balance_after >= 0),
    hash           bytea NOT NULL,
    created_at     timestamptz NOT NULL,
    CHECK (CASE WHEN state = 'system' THEN seq IS NULL AND balance_before = 0 AND balance_after = 0
                ELSE seq IS NOT NULL AND balance_after = balance_before + amount END)
);
CREATE UNIQUE INDEX entries_account_seq ON entries (account, seq) WHERE seq IS NOT NULL;
CREATE UNIQUE INDEX entries_system_transaction ON entries (transaction_id) WHERE seq IS NULL;

CREATE TABLE escrows (
    id              uuid PRIMARY KEY,       -- UUIDv7
    user_account    text COLLATE "C" NOT NULL,
    amount          bigint NOT NULL CHECK (amount > 0),
    status          text COLLATE "C" NOT NULL CHECK (status IN ('held', 'settled', 'refunded', 'partially_settled')),
    reason          text COLLATE "C" NOT NULL,
    queue_item_id   text COLLATE "C" NOT NULL,
    feature_type    text COLLATE "C" NOT NULL,
    held_by         uuid NOT NULL,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz,
    closed_by       uuid,
    closed_at       timestamptz,
    model_account   text COLLATE "C",
    refund_amount   bigint NOT NULL DEFAULT 0,
    settle_amount   bigint NOT NULL DEFAULT 0,
    CHECK (CASE WHEN status = 'held' THEN closed_by IS NULL AND refund_amount = 0 AND settle_amount = 0
                ELSE closed_by IS NOT NULL AND refund_amount + settle_amount = amount END)
) WITH (fillfactor = 80);
CREATE INDEX escrows_user ON escrows (user_account, id);

-- Held escrows that end by themselves; the row goes when the escrow ends.
CREATE TABLE escrow_expiries (
    expires_at timestamptz NOT NULL,
    escrow_id  uuid NOT NULL,
    PRIMARY KEY (expires_at, escrow_id)
);

CREATE TABLE idempotency_keys (
    operation      text COLLATE "C" NOT NULL,
    key            text COLLATE "C" NOT NULL,
    request_hash   bytea NOT NULL,
    transaction_id uuid NOT NULL,
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (operation, key)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX idempotency_keys_created ON idempotency_keys USING brin (created_at);

-- One slim row per transaction whose events Redis may not have yet.
CREATE TABLE outbox (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction_id uuid NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000);

-- One row: where the events of this ledger are published.
CREATE TABLE layout (
    one        boolean PRIMARY KEY CHECK (one),
    namespace  text COLLATE "C" NOT NULL,
    partitions integer NOT NULL CHECK (partitions > 0)
);

-- +goose StatementBegin
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
-- +goose StatementEnd
CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE ON entries FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER entries_no_truncate BEFORE TRUNCATE ON entries FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transactions_append_only BEFORE UPDATE OR DELETE ON transactions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transactions_no_truncate BEFORE TRUNCATE ON transactions FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- +goose Down
DROP TABLE layout, outbox, idempotency_keys, escrow_expiries, escrows, entries, transactions, wallets;
DROP FUNCTION refuse_change();
