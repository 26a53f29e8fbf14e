-- Jobs, their history, and what the inbox remembers.

CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice
    kind TEXT NOT NULL,
    request TEXT NOT NULL CHECK (json_valid(request)),
    run TEXT NOT NULL,
    owner INTEGER NOT NULL,
    label TEXT NOT NULL,
    priority INTEGER NOT NULL,
    submitted_at REAL NOT NULL,
    token INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    interruptions INTEGER NOT NULL DEFAULT 0,
    progress TEXT NOT NULL DEFAULT '',
    events_from INTEGER NOT NULL DEFAULT 0,
    -- the state, and what belongs to one state only
    state TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'paused', 'ended')),
    since REAL NOT NULL, -- when the state, or what the job waits for, was written
    waits_for TEXT NOT NULL DEFAULT '' CHECK (waits_for = '' OR state = 'queued'),
    waits_until REAL NOT NULL DEFAULT 0 CHECK (waits_until = 0 OR state = 'queued'),
    stop TEXT CHECK (stop IS NULL OR (state = 'running' AND stop IN ('cancel', 'drain'))),
    pause_reason TEXT CHECK ((pause_reason IS NOT NULL) = (state = 'paused')),
    by_person INTEGER NOT NULL DEFAULT 0 CHECK (by_person = 0 OR state = 'paused'),
    -- the outcome, and its report: the result of a done job, the message of a failed one
    outcome TEXT CHECK (outcome IN ('done', 'failed', 'canceled')),
    report TEXT CHECK (report IS NULL OR json_valid(report)),
    CHECK ((outcome IS NOT NULL) = (state = 'ended')),
    CHECK ((report IS NOT NULL) = (outcome IS 'done' OR outcome IS 'failed'))
) STRICT;

CREATE UNIQUE INDEX one_live_job_a_run ON jobs (run) WHERE state <> 'ended';
CREATE INDEX next_to_start ON jobs (state, priority DESC, id);

-- What clients call their submissions: a client that submits again finds the job that it made.
CREATE TABLE keys (
    key TEXT PRIMARY KEY,
    job INTEGER NOT NULL REFERENCES jobs (id)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    job INTEGER NOT NULL REFERENCES jobs (id),
    at REAL NOT NULL,
    token INTEGER NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL CHECK (json_valid(data))
) STRICT;

CREATE INDEX events_of_a_job ON events (job, n);

CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are never changed');
END;

CREATE TRIGGER events_are_never_removed BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are never removed');
END;

CREATE TABLE drops (
    name BLOB PRIMARY KEY, -- bytes, for the name of a folder need not be text
    fingerprint TEXT NOT NULL,
    since REAL NOT NULL,
    submitted TEXT,
    job_id INTEGER REFERENCES jobs (id),
    fault TEXT NOT NULL
) STRICT, WITHOUT ROWID;
