-- The last batch up to this one that had events of each subject, 0 for none: events name their predecessor, also when
-- the rows of `event` are gone some day.
ALTER TABLE batch
    ADD COLUMN latest_received bigint NOT NULL DEFAULT 0,
    ADD COLUMN latest_settled  bigint NOT NULL DEFAULT 0,
    ADD COLUMN latest_refused  bigint NOT NULL DEFAULT 0;

UPDATE batch SET latest_received = told.received, latest_settled = told.settled, latest_refused = told.refused
FROM (
    SELECT shard, number,
           COALESCE(max(number) FILTER (WHERE received) OVER upwards, 0) AS received,
           COALESCE(max(number) FILTER (WHERE settled) OVER upwards, 0) AS settled,
           COALESCE(max(number) FILTER (WHERE refused) OVER upwards, 0) AS refused
    FROM (
        SELECT b.shard, b.number,
               bool_or(e.subject = 'pix.spi.order_received.v1') AS received,
               bool_or(e.subject = 'pix.spi.payment_settled.v1') AS settled,
               bool_or(e.subject = 'pix.spi.payment_refused.v1') AS refused
        FROM batch b LEFT JOIN event e ON e.shard = b.shard AND e.batch = b.number
        GROUP BY b.shard, b.number
    ) AS had
    WINDOW upwards AS (PARTITION BY shard ORDER BY number)
) AS told
WHERE batch.shard = told.shard AND batch.number = told.number;
