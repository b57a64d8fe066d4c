-- +goose NO TRANSACTION
-- +goose Up
-- What tables need that grow for years; docs/ledger-scale.md has the figures.
-- Nothing here keeps an older core from reading or writing.

-- Append-only: vacuum after each so many new rows, not after a share of all, and
-- freeze them at once, since they never change. So each page is visited once.
ALTER TABLE transactions SET (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000000, autovacuum_freeze_min_age = 0);
ALTER TABLE entries SET (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000000, autovacuum_freeze_min_age = 0);

-- Old keys are found by a B-tree: new keys fill the pages that vacuum frees, so
-- that soon every range of a BRIN index seems to hold old ones. An interrupted try
-- may have left an invalid index behind. CONCURRENTLY waits for the transactions
-- that run, and nobody waits for it.
SET lock_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS idempotency_keys_made;
CREATE INDEX CONCURRENTLY idempotency_keys_made ON idempotency_keys (created_at);
DROP INDEX CONCURRENTLY IF EXISTS idempotency_keys_created;
RESET lock_timeout;

-- +goose Down
SET lock_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS idempotency_keys_created;
CREATE INDEX CONCURRENTLY idempotency_keys_created ON idempotency_keys USING brin (created_at);
DROP INDEX CONCURRENTLY IF EXISTS idempotency_keys_made;
RESET lock_timeout;
ALTER TABLE transactions RESET (autovacuum_vacuum_insert_scale_factor, autovacuum_vacuum_insert_threshold, autovacuum_freeze_min_age);
ALTER TABLE entries RESET (autovacuum_vacuum_insert_scale_factor, autovacuum_vacuum_insert_threshold, autovacuum_freeze_min_age);
