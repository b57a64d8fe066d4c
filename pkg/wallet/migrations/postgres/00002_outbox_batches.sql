-- +goose Up

-- A row for each batch instead of each transaction. Rows of a core that is older
-- than this still come and are read; it does not see the new ones, which the
-- new core publishes.
ALTER TABLE outbox
    ADD COLUMN transactions uuid[],         -- in the order of the batch
    ALTER COLUMN transaction_id DROP NOT NULL,
    ADD CHECK ((transactions IS NULL) <> (transaction_id IS NULL)),
    SET (autovacuum_vacuum_threshold = 2000, autovacuum_analyze_threshold = 2000);

-- +goose Down
INSERT INTO outbox (transaction_id) SELECT t FROM outbox o, unnest(o.transactions) WITH ORDINALITY AS u(t, n) ORDER BY o.id, u.n;
DELETE FROM outbox WHERE transactions IS NOT NULL;
ALTER TABLE outbox DROP COLUMN transactions, ALTER COLUMN transaction_id SET NOT NULL;
