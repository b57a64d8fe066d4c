-- +goose Up

-- The order in which batches were written, for readers of all events. There is one row for each
-- batch, with its transactions in order. A position is taken while the statement that writes the
-- batch runs, so the positions of an account's transactions rise with its seq. A batch that was not
-- committed leaves a gap. The arrays are not compressed, since ids hardly compress.
CREATE TABLE journal (
    position     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transactions uuid[] NOT NULL,
    size         integer NOT NULL GENERATED ALWAYS AS (cardinality(transactions)) STORED
) WITH (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000, autovacuum_freeze_min_age = 0);
ALTER TABLE journal ALTER COLUMN transactions SET STORAGE EXTERNAL;

-- Older transactions are in the order of their ids, which is that of their time. No core of an
-- earlier version may write afterwards, since its transactions would not be in the journal.
LOCK TABLE transactions IN SHARE MODE;
INSERT INTO journal (transactions)
    SELECT array_agg(id ORDER BY id) FROM
        (SELECT id, (row_number() OVER (ORDER BY id) - 1) / 500 AS batch FROM transactions) AS numbered
    GROUP BY batch ORDER BY batch;

CREATE TRIGGER journal_append_only BEFORE UPDATE OR DELETE ON journal FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER journal_no_truncate BEFORE TRUNCATE ON journal FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- +goose Down
DROP TABLE journal;
