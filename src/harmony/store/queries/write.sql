-- What the journal writes. Where a row is given as VALUES (?1, …), many rows are written by one statement with that
-- part repeated: ?1, where there is one, is the run in all of them.

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
SET told = ?2, waiting = ?3, submitted = ?4, running = ?5, done = ?6, failed = ?7, cancelled = ?8, recalled = ?9
WHERE id = ?1;

-- name: end_run
UPDATE run SET ended = ?2, state = ?3, work = ?4, critical_path = ?5 WHERE id = ?1;

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
) VALUES (?1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_worked
INSERT OR REPLACE INTO task (
    run, kind, state, attempts, id, name, shape, key, accepted, started, ended, seconds, engine, place, path
) VALUES (?1, 'call', 3, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_measured
INSERT OR REPLACE INTO task (
    run, kind, state, attempts, id, name, shape, key, accepted, started, ended, seconds, engine, place, path,
    cpu, memory, read, written
) VALUES (?1, 'call', 3, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: drop_running
DELETE FROM task WHERE run = ? AND id = ? AND state = 2;

-- name: add_kept
INSERT INTO recent (run, key, task, value, size) VALUES (?1, ?, ?, ?, ?);

-- name: add_recent
INSERT INTO recent (run, key, task, value, object, size, files) VALUES (?1, ?, ?, ?, ?, ?, ?);

-- name: add_memo
INSERT OR REPLACE INTO memo (run, key, task, value, object, size, files) VALUES (?1, ?, ?, ?, ?, ?, ?);

-- name: add_attempt
INSERT OR REPLACE INTO attempt (run, task, number, engine, place, started, ended, seconds)
VALUES (?1, ?, ?, ?, ?, ?, ?, ?);

-- name: add_failure
INSERT OR REPLACE INTO failure (
    run, task, attempt, type, message, traceback, arguments, exit_code, signal, root
) VALUES (?1, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_edge
INSERT OR REPLACE INTO edge (run, task, parent) VALUES (?1, ?, ?);

-- name: add_file
INSERT OR REPLACE INTO file (run, task, role, path, size, mtime, digest) VALUES (?1, ?, ?, ?, ?, ?, ?);

-- name: add_command
INSERT OR REPLACE INTO command (run, task, line) VALUES (?1, ?, ?);

-- name: add_output
INSERT OR REPLACE INTO output (run, task, stdout, stderr) VALUES (?1, ?, ?, ?);

-- name: add_event
INSERT OR REPLACE INTO event (run, number, kind, subject, time, monotonic, data) VALUES (?1, ?, ?, ?, ?, ?, ?);

-- name: add_attachment
INSERT OR REPLACE INTO attachment (run, key, task, engine, handle) VALUES (?1, ?, ?, ?, ?);

-- name: drop_attachment
DELETE FROM attachment WHERE key = ?;

-- name: attachments
SELECT attachment.key, attachment.engine, attachment.handle, run.lock
FROM attachment LEFT JOIN run ON run.id = attachment.run;

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
