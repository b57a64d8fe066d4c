-- One round has the transactions i with accounts * round <= i < accounts * (round + 1), one for each
-- user. The first entry is the user's; second is the hash of the other entry.
-- OFFSET 0 makes Postgres compute an expression once, not at each place that uses its name.
CREATE TEMP TABLE round ON COMMIT DROP AS
SELECT i, ms, id, account, model, previous, model_previous, hash, {second} AS second
FROM (SELECT *, pg_temp.hash(previous, summary, account, '{state}', 0, {seq}, {amount}, {before}) AS hash
    FROM (SELECT *, pg_temp.summary(id, ms, '{operation}', '{reason}', item, '{feature}') AS summary,
            {previous} AS previous, {modelPrevious} AS model_previous
        FROM (SELECT i, ms, {item} AS item, pg_temp.id(ms, 0, i) AS id, 'user:b' || name AS account, 'model:b' || name AS model
            FROM (SELECT i, {ms} AS ms, lpad(((i % {accounts}) * 7919 % {accounts})::text, 8, '0') AS name
                FROM generate_series({accounts} * {round}::bigint, {accounts} * ({round} + 1) - 1) AS i OFFSET 0) AS numbered OFFSET 0) AS named
        OFFSET 0) AS summed
    OFFSET 0) AS hashed;

INSERT INTO transactions (id, operation, amount, refund_amount, settle_amount, reason, escrow_id, queue_item_id, feature_type,
    user_account, user_seq, user_available, user_escrow, model_account, model_seq, model_earned, created_at, chains)
SELECT id, '{operation}', abs({amount}), 0, 0, '{reason}', {escrow}, nullif({item}, ''), nullif('{feature}', ''),
    account, {userSeq}, {available}, {held}, {party}, pg_temp.at(ms),
    {chains} FROM round ORDER BY i;

INSERT INTO entries (account, seq, transaction_id, place, state, amount, balance_before, balance_after, hash, created_at)
SELECT e.* FROM round, LATERAL (VALUES
    (account, {seq}::bigint, id, 0, '{state}', {amount}::bigint, {before}::bigint, {before} + {amount}, hash, pg_temp.at(ms)),
    ({entry}, second, pg_temp.at(ms))) AS e(account, seq, id, place, state, amount, before, after, hash, at) ORDER BY i, place;

INSERT INTO journal (transactions)
SELECT array_agg(id ORDER BY i) FROM round GROUP BY i / 500 ORDER BY i / 500;

-- Keys are kept for a day.
INSERT INTO idempotency_keys (operation, key, request_hash, transaction_id, created_at)
SELECT '{operation}', 'history-' || i, substr(hash, 1, 16), id, pg_temp.at(ms) FROM round WHERE ms > {to} - 86400000;

{more}
