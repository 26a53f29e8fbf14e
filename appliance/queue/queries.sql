-- Every statement of the queue, by name. Loaded by sql.py.

-- name: insert_job
INSERT INTO jobs (kind, request, run, owner, label, priority, submitted_at, since)
VALUES (:kind, :request, :run, :owner, :label, :priority, :now, :now)
RETURNING *;

-- name: save_job
UPDATE jobs SET
    token = :token, attempts = :attempts, crashes = :crashes, interruptions = :interruptions,
    progress = :progress, events_from = :events_from, state = :state, since = :since,
    waits_for = :waits_for, waits_until = :waits_until, stop = :stop,
    pause_reason = :pause_reason, by_person = :by_person, outcome = :outcome, report = :report
WHERE id = :id;

-- name: find_job
SELECT * FROM jobs WHERE id = :id;

-- name: find_last_id
SELECT coalesce(max(id), 0) AS last_id FROM jobs;

-- name: find_job_by_key
SELECT jobs.* FROM keys JOIN jobs ON jobs.id = keys.job WHERE keys.key = :key;

-- name: find_live_job_of_run
SELECT * FROM jobs WHERE run = :run AND state <> 'ended';

-- name: insert_key
INSERT INTO keys (key, job) VALUES (:key, :job);

-- name: list_jobs
-- The bound on id stands alone, so that SQLite begins there and not at the newest job.
SELECT * FROM jobs
WHERE (:owner IS NULL OR owner = :owner) AND id < coalesce(:before, 9223372036854775807)
ORDER BY id DESC LIMIT :limit;

-- name: list_live_jobs
-- Asked every second: an index knows the few that live among the many that ended.
SELECT * FROM jobs INDEXED BY one_live_job_a_run
WHERE state <> 'ended'
    AND (:owner IS NULL OR owner = :owner) AND (:before IS NULL OR id < :before)
ORDER BY id DESC LIMIT :limit;

-- name: count_states
SELECT state, count(*) AS num_jobs FROM jobs GROUP BY state;

-- name: next_ready
-- A clock that stands before the moment a wait was written was turned back: the wait says nothing.
SELECT * FROM jobs
WHERE state = 'queued' AND (waits_until <= :now OR :now < since)
ORDER BY priority DESC, id LIMIT 1;

-- name: was_reached
SELECT EXISTS (
    SELECT 1 FROM events
    WHERE job = :job AND kind = 'progress' AND json_extract(data, '$.marker') = :marker
) AS was_reached;

-- name: insert_event
INSERT INTO events (job, at, token, kind, data) VALUES (:job, :at, :token, :kind, :data);

-- name: list_events
SELECT * FROM events WHERE n > :after ORDER BY n LIMIT :limit;

-- name: list_events_of_job
SELECT * FROM events WHERE job = :job AND n > :after ORDER BY n LIMIT :limit;

-- name: find_drop
SELECT * FROM drops WHERE name = :name;

-- name: list_drops
SELECT * FROM drops ORDER BY name;

-- name: keep_drop
INSERT INTO drops (name, fingerprint, since, submitted, job_id, fault)
VALUES (:name, :fingerprint, :since, :submitted, :job_id, :fault)
ON CONFLICT (name) DO UPDATE SET
    fingerprint = excluded.fingerprint, since = excluded.since, submitted = excluded.submitted,
    job_id = excluded.job_id, fault = excluded.fault;

-- name: forget_drop
DELETE FROM drops WHERE name = :name;
