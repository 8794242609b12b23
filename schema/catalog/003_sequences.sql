-- Sequences (kind 3) and the cluster's own scope (kind 4, id -1): what content needs for them.

-- revision: the sequence's own version. all_revision: enrollments of revisions below it follow the
-- newest. start_at: a draft that was told to start then. paused_until: when a pause ends by itself.
ALTER TABLE content
    ADD COLUMN revision int NOT NULL DEFAULT 1,
    ADD COLUMN all_revision int NOT NULL DEFAULT 0,
    ADD COLUMN start_at timestamptz,
    ADD COLUMN paused_until timestamptz,
    ADD COLUMN because text NOT NULL DEFAULT '';
