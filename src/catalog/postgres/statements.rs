//! The statements of a term. Every write is fenced: it changes the one row of `cluster`, if that is
//! still of its term, and nothing else if it is not.

/// How many synchronous standbys there are.
pub(super) const STANDBYS: &str =
    "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')";

pub(super) const CLAIM: &str = "
    UPDATE cluster SET term = term + 1, holder = $3, beat = beat + 1
    WHERE id = 1 AND term = $1 AND beat = $2 RETURNING term";

pub(super) const BEAT: &str =
    "UPDATE cluster SET beat = beat + 1 WHERE id = 1 AND term = $1 RETURNING 1";

pub(super) const LEAVE: &str = "
    UPDATE cluster SET beat = beat + 1, holder = NULL WHERE id = 1 AND term = $1 RETURNING 1";

pub(super) const SET_LEADERSHIP: &str = "
    UPDATE cluster SET beat = beat + 1, epoch = $2, leader = $3
    WHERE id = 1 AND term = $1 RETURNING 1";

pub(super) const SET_PAST: &str = "
    UPDATE cluster SET beat = beat + 1, in_doubt = $2 WHERE id = 1 AND term = $1 RETURNING 1";

/// A batch is one statement: a client that is paused in the middle of a transaction of several
/// would hold the row, and a takeover would wait for it. A toy without a row is a division by zero,
/// so that nothing is written.
pub(super) const COMMIT: &str = "
    WITH fence AS (
        UPDATE cluster SET beat = beat + 1, length = $4, chain = $5
        WHERE id = 1 AND term = $1 AND length = $2 AND chain = $3 RETURNING 1
    ), shelves AS (
        UPDATE stock SET quantity = new.quantity, stocked = new.stocked, sold = new.sold,
            version = new.version
        FROM unnest($6::text[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[])
            AS new (name, quantity, stocked, sold, version)
        WHERE stock.name = new.name AND EXISTS (SELECT FROM fence) RETURNING 1
    ), orders AS (
        INSERT INTO log (number, name, quantity, chain, key)
        SELECT * FROM unnest($11::bigint[], $12::text[], $13::bigint[], $14::bytea[], $15::text[])
        WHERE EXISTS (SELECT FROM fence)
    ), decided AS (
        INSERT INTO decisions (key, name, quantity, number)
        SELECT * FROM unnest($16::text[], $17::text[], $18::bigint[], $19::bigint[])
        WHERE EXISTS (SELECT FROM fence)
    )
    SELECT 1 / ((SELECT count(*) FROM shelves) = cardinality($6::text[]))::integer FROM fence";

pub(super) const NOTE_SESSIONS: &str = "
    WITH fence AS (
        UPDATE cluster SET beat = beat + 1 WHERE id = 1 AND term = $1 RETURNING 1
    ), ended AS (
        DELETE FROM sessions
        USING unnest($2::bigint[], $3::bigint[]) AS gone (boot, serial)
        WHERE sessions.boot = gone.boot AND sessions.serial = gone.serial
            AND EXISTS (SELECT FROM fence)
    ), begun AS (
        INSERT INTO sessions (boot, serial)
        SELECT * FROM unnest($4::bigint[], $5::bigint[]) WHERE EXISTS (SELECT FROM fence)
        ON CONFLICT DO NOTHING
    )
    SELECT 1 FROM fence";

/// The toys of `roles.toml`, with their places and prices. A toy that is not there any more keeps
/// its row, without a place.
pub(super) const LIST_TOYS: &str = "
    WITH fence AS (
        UPDATE cluster SET beat = beat + 1 WHERE id = 1 AND term = $1 RETURNING 1
    ), unlisted AS (
        UPDATE stock SET position = NULL
        WHERE position IS NOT NULL AND name <> ALL ($2::text[]) AND EXISTS (SELECT FROM fence)
    ), listed AS (
        INSERT INTO stock (name, position, price, quantity, stocked, sold, version)
        SELECT name, position, price, $5, $5, 0, 0
        FROM unnest($2::text[], $3::bigint[], $4::double precision[]) AS new (name, position, price)
        WHERE EXISTS (SELECT FROM fence)
        ON CONFLICT (name) DO UPDATE SET position = excluded.position, price = excluded.price
        WHERE (stock.position, stock.price) IS DISTINCT FROM (excluded.position, excluded.price)
    )
    SELECT 1 FROM fence";

pub(super) const RECORDED: &str = "
    SELECT decisions.key, decisions.name, decisions.quantity, decisions.number, log.key
    FROM decisions LEFT JOIN log ON log.number = decisions.number
    WHERE decisions.key = ANY ($1)";

pub(super) const CHAIN_OF: &str = "SELECT chain FROM log WHERE number = $1";

pub(super) const ROWS: &str =
    "SELECT number, name, quantity, key FROM log WHERE number >= $1 ORDER BY number LIMIT $2";
