-- A checksum over the other columns of a job: SQLite finds pages that are out of order, but not a bit
-- that flipped in a value. NULL in rows that version 1 wrote and nobody changed since.

ALTER TABLE jobs ADD COLUMN checksum INTEGER;
