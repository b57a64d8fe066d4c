-- +goose Up

-- For each party, the user first: the account's chain before the transaction and
-- the chain of each of its events, 8 bytes each. An event with an entry has the
-- first 8 bytes of the entry's hash. An escrow operation's own event has the first
-- 8 bytes of SHA-256 over the account's previous hash (zeros if there is none) and
-- the transaction id.
ALTER TABLE transactions ADD COLUMN chains bytea;
ALTER TABLE transactions DISABLE TRIGGER transactions_append_only;

-- The hashes of an account's entries in a transaction are found by (account, seq),
-- since a transaction has at most two entries of an account.
-- +goose StatementBegin
CREATE FUNCTION party_chains(party text, last_seq bigint, transaction uuid, operation text) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN party IS NULL THEN ''::bytea ELSE
        substring(p.hash FROM 1 FOR 8)
        || CASE WHEN operation IN ('credit', 'debit') THEN ''::bytea
                ELSE substring(sha256(p.hash || uuid_send(transaction)) FROM 1 FOR 8) END
        || coalesce((SELECT string_agg(substring(e.hash FROM 1 FOR 8), ''::bytea ORDER BY e.seq) FROM entries e
            WHERE e.account = party AND e.seq > last_seq - 2 AND e.seq <= last_seq AND e.transaction_id = transaction), ''::bytea) END
    FROM (SELECT coalesce(
        (SELECT e.hash FROM entries e WHERE e.account = party AND e.seq < last_seq AND e.transaction_id <> transaction ORDER BY e.seq DESC LIMIT 1),
        decode(repeat('00', 32), 'hex')) AS hash) p
$$;
-- +goose StatementEnd
UPDATE transactions SET chains = party_chains(user_account, user_seq, id, operation) || party_chains(model_account, model_seq, id, operation);
DROP FUNCTION party_chains(text, bigint, uuid, text);

ALTER TABLE transactions ENABLE TRIGGER transactions_append_only;
ALTER TABLE transactions ALTER COLUMN chains SET NOT NULL;

-- +goose Down
ALTER TABLE transactions DROP COLUMN chains;
