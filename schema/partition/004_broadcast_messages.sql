-- What people know as broadcast_messages: every attempt, and every enrollment that still waits.
-- For questions by people, never for sending: it joins the day log with receipts and leads.

CREATE VIEW broadcast_messages AS
    SELECT m.device_id,
           coalesce(l.phone, d.phone) AS recipient_phone,
           coalesce(l.name, '') AS recipient_name,
           m.source_id,
           coalesce(s.name, '') AS source,
           CASE s.kind WHEN 0 THEN 'direct' WHEN 1 THEN 'campaign' WHEN 2 THEN 'sequence' END AS kind,
           m.lead_no,
           m.step,
           m.attempt,
           CASE coalesce(r.state, m.state)
               WHEN 1 THEN 'sent' WHEN 2 THEN 'failed' WHEN 3 THEN 'unknown' WHEN 4 THEN 'expired'
               WHEN 5 THEN 'skipped' WHEN 6 THEN 'cancelled' END AS status,
           coalesce(r.reason, m.reason) AS reason,
           m.claimed_at AS scheduled_at,
           CASE coalesce(r.state, m.state) WHEN 1 THEN coalesce(r.at, m.settled_at) END AS sent_at,
           m.token,
           coalesce(nullif(r.provider_id, ''), m.provider_id) AS provider_id
      FROM message m
      LEFT JOIN LATERAL (SELECT state, reason, provider_id, at FROM receipt
                          WHERE receipt.token = m.token ORDER BY at DESC LIMIT 1) r ON true
      LEFT JOIN lead l USING (device_id, lead_no)
      LEFT JOIN direct d USING (device_id, lead_no)
      LEFT JOIN source s USING (source_id)
UNION ALL
    SELECT e.device_id,
           coalesce(l.phone, d.phone),
           coalesce(l.name, ''),
           e.source_id,
           coalesce(s.name, ''),
           CASE s.kind WHEN 0 THEN 'direct' WHEN 1 THEN 'campaign' WHEN 2 THEN 'sequence' END,
           e.lead_no,
           e.step,
           e.attempt,
           CASE e.state WHEN 0 THEN 'waiting' WHEN 1 THEN 'claimed' END,
           0::smallint,
           e.due_at,
           NULL,
           CASE e.state WHEN 1 THEN e.token END,
           ''
      FROM enrollment e
      LEFT JOIN lead l USING (device_id, lead_no)
      LEFT JOIN direct d USING (device_id, lead_no)
      LEFT JOIN source s USING (source_id)
     WHERE e.state IN (0, 1); -- an unknown one shows as its message

GRANT SELECT ON broadcast_messages TO fleetcast_node;
