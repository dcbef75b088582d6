-- What the journal writes. Where a row is given as VALUES (…), many rows are written by one statement with that part
-- repeated; :run stands for the run's number.

-- name: find_campaign
SELECT id FROM campaign WHERE program = ? AND workflow = ? AND ordinal = ?;

-- name: add_campaign
INSERT INTO campaign (program, workflow, ordinal) VALUES (?, ?, ?);

-- name: last_run
SELECT max(id) FROM run WHERE campaign = ?;

-- name: add_run
INSERT INTO run (
    uuid, campaign, resumes, argv, directory, user, host, pid, lock, engines, cores, environment, began, monotonic
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: tell_run
UPDATE run
SET told = ?, waiting = ?, submitted = ?, running = ?, done = ?, failed = ?, cancelled = ?, recalled = ?
WHERE id = ?;

-- name: end_run
UPDATE run SET ended = ?, state = ?, work = ?, critical_path = ? WHERE id = ?;

-- name: last_event
SELECT coalesce(max(number), 0) FROM event WHERE run = ?;

-- name: add_text
INSERT OR IGNORE INTO text (id, value) VALUES (?, ?);

-- name: add_shape
INSERT OR IGNORE INTO shape (id, value) VALUES (?, ?);

-- name: add_task
INSERT OR REPLACE INTO task (
    run, id, name, kind, shape, state, key, accepted, started, ended, seconds, cpu, memory, read, written, engine,
    place, attempts, path, origin_run, origin_task
) VALUES (:run, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_worked
INSERT OR REPLACE INTO task (
    run, kind, state, attempts, id, name, shape, key, accepted, started, ended, seconds, engine, place, path
) VALUES (:run, 'call', 3, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_measured
INSERT OR REPLACE INTO task (
    run, kind, state, attempts, cpu, memory, read, written, id, name, shape, key, accepted, started, ended, seconds,
    engine, place, path
) VALUES (:run, 'call', 3, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: drop_running
DELETE FROM task WHERE run = ? AND id = ? AND state = 2;

-- name: add_kept
INSERT INTO recent (run, key, task, value, size) VALUES (:run, ?, ?, ?, ?);

-- name: add_recent
INSERT INTO recent (run, key, task, value, object, size, files) VALUES (:run, ?, ?, ?, ?, ?, ?);

-- name: add_memo
INSERT OR REPLACE INTO memo (run, key, task, value, object, size, files) VALUES (:run, ?, ?, ?, ?, ?, ?);

-- name: add_attempt
INSERT OR REPLACE INTO attempt (run, task, number, engine, place, started, ended, seconds)
VALUES (:run, ?, ?, ?, ?, ?, ?, ?);

-- name: add_failure
INSERT OR REPLACE INTO failure (
    run, task, attempt, type, message, traceback, arguments, exit_code, signal, root
) VALUES (:run, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_edge
INSERT OR REPLACE INTO edge (run, task, parent) VALUES (:run, ?, ?);

-- name: add_file
INSERT OR REPLACE INTO file (run, task, role, path, size, mtime, digest) VALUES (:run, ?, ?, ?, ?, ?, ?);

-- name: add_command
INSERT OR REPLACE INTO command (run, task, line) VALUES (:run, ?, ?);

-- name: add_output
INSERT OR REPLACE INTO output (run, task, stdout, stderr) VALUES (:run, ?, ?, ?);

-- name: add_event
INSERT OR REPLACE INTO event (run, number, kind, subject, time, monotonic, data) VALUES (:run, ?, ?, ?, ?, ?, ?);

-- name: add_attachment
INSERT OR REPLACE INTO attachment (run, key, task, engine, handle) VALUES (:run, ?, ?, ?, ?);

-- name: drop_attachment
DELETE FROM attachment WHERE key = ?;

-- name: attachments
SELECT attachment.key, attachment.engine, attachment.handle, run.lock
FROM attachment LEFT JOIN run ON run.id = attachment.run;

-- name: add_chunk
INSERT INTO chunk (run, data) VALUES (:run, ?);

-- name: any_chunk
SELECT EXISTS (SELECT 1 FROM chunk);

-- name: first_chunk
SELECT id, run, data FROM chunk WHERE id <= ? ORDER BY id LIMIT 1;

-- name: last_chunk
SELECT max(id) FROM chunk;

-- name: drop_chunk
DELETE FROM chunk WHERE id = ?;

-- name: find_memo
SELECT run, task, value, object, files FROM memo WHERE key = ?;

-- name: any_memo
SELECT EXISTS (SELECT 1 FROM memo);

-- name: recent_bounds
SELECT coalesce(min(id), 0), coalesce(max(id), -1) FROM recent;

-- name: merge_recent
INSERT OR REPLACE INTO memo (key, run, task, value, object, size, files)
SELECT key, run, task, value, object, size, files FROM recent WHERE id BETWEEN ? AND ? ORDER BY key, id;

-- name: drop_recent
DELETE FROM recent WHERE id BETWEEN ? AND ?;

-- name: digests
SELECT path, size, mtime, inode, digest FROM digest;

-- name: add_digest
INSERT OR REPLACE INTO digest (path, size, mtime, inode, digest) VALUES (?, ?, ?, ?, ?);
