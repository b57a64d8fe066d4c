-- +goose Up

-- The order in which transactions were written, for readers of all events. SQLite has one writer, so
-- the positions have no gaps.
CREATE TABLE journal (
    position       INTEGER PRIMARY KEY,
    transaction_id TEXT NOT NULL
);
INSERT INTO journal (transaction_id) SELECT id FROM transactions ORDER BY id;

-- +goose StatementBegin
CREATE TRIGGER journal_no_update BEFORE UPDATE ON journal BEGIN SELECT RAISE(ABORT, 'journal is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER journal_no_delete BEFORE DELETE ON journal BEGIN SELECT RAISE(ABORT, 'journal is append-only'); END;
-- +goose StatementEnd

-- +goose Down
DROP TABLE journal;
