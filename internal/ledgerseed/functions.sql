-- These functions make ids that carry their time, the canonical forms of pkg/wallet/rules_hash.go, and
-- the chains of pkg/wallet/rules_chain.go. They are STABLE, as their bodies are: Postgres inlines a function only if
-- it promises no more than its body, and a call takes ten times as long.
CREATE OR REPLACE FUNCTION pg_temp.id(ms bigint, kind bigint, i bigint) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT (lpad(to_hex(ms), 12, '0') || '7' || lpad(to_hex(i & 4095), 3, '0') || '8'
        || lpad(to_hex(hashint8extended(i, kind) & 1152921504606846975), 15, '0'))::uuid $$;

CREATE OR REPLACE FUNCTION pg_temp.at(ms bigint) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT timestamptz '1970-01-01 00:00:00Z' + ms * interval '1 millisecond' $$;

CREATE OR REPLACE FUNCTION pg_temp.txt(s text) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT int4send(octet_length(s)) || convert_to(s, 'UTF8') $$;

CREATE OR REPLACE FUNCTION pg_temp.summary(id uuid, ms bigint, operation text, reason text, item text, feature text) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT uuid_send(id) || int8send(ms) || pg_temp.txt(operation) || pg_temp.txt(reason) || pg_temp.txt(item) || pg_temp.txt(feature)
        || pg_temp.txt('') || pg_temp.txt('') || int4send(0) $$;

CREATE OR REPLACE FUNCTION pg_temp.hash(previous bytea, summary bytea, account text, state text, place int, seq bigint, amount bigint, before bigint)
    RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(previous || summary || pg_temp.txt(account) || pg_temp.txt(state) || int8send(place) || int8send(seq) || int8send(amount)
        || int8send(before) || int8send(CASE WHEN seq = 0 THEN 0 ELSE before + amount END)) $$;

-- An account's chain before an escrow operation, and that of the operation's own event.
CREATE OR REPLACE FUNCTION pg_temp.own(previous bytea, id uuid) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT substr(previous, 1, 8) || substr(sha256(previous || uuid_send(id)), 1, 8) $$;
