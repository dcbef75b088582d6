-- What gc.py asks and removes. In each, :run is a run that is no longer there, :first and :last its tasks by id.
-- Results go where their run is in gc_goes, unless a run that stays has recalled their key, which is then in gc_used.

-- name: gc_temporary_goes
CREATE TEMP TABLE gc_goes (run INTEGER PRIMARY KEY)

-- name: gc_temporary_used
CREATE TEMP TABLE gc_used (key BLOB PRIMARY KEY) WITHOUT ROWID

-- name: gc_add_goes
INSERT OR IGNORE INTO temp.gc_goes VALUES (:run)

-- name: gc_add_used
INSERT OR IGNORE INTO temp.gc_used SELECT key FROM task WHERE run = :run AND origin_run IS NOT NULL AND key IS NOT NULL

-- name: gc_run
DELETE FROM run WHERE id = :run

-- name: gc_campaigns
DELETE FROM campaign WHERE id NOT IN (SELECT campaign FROM run)

-- name: gc_orphans
-- Runs of which there are rows still; each step of these goes to the next run by the primary key.
WITH RECURSIVE
    tasks (run) AS (
        SELECT MIN(run) FROM task
        UNION ALL SELECT (SELECT MIN(run) FROM task WHERE run > tasks.run) FROM tasks WHERE run IS NOT NULL
    ),
    attempts (run) AS (
        SELECT MIN(run) FROM attempt
        UNION ALL SELECT (SELECT MIN(run) FROM attempt WHERE run > attempts.run) FROM attempts WHERE run IS NOT NULL
    ),
    events (run) AS (
        SELECT MIN(run) FROM event
        UNION ALL SELECT (SELECT MIN(run) FROM event WHERE run > events.run) FROM events WHERE run IS NOT NULL
    )
SELECT run
FROM (SELECT run FROM tasks UNION SELECT run FROM attempts UNION SELECT run FROM events)
WHERE run IS NOT NULL AND run NOT IN (SELECT id FROM run)

-- name: gc_last
SELECT MAX(
    COALESCE((SELECT MAX(id) FROM task WHERE run = :run), 0),
    COALESCE((SELECT MAX(task) FROM attempt WHERE run = :run), 0),
    COALESCE((SELECT MAX(number) FROM event WHERE run = :run), 0)
)

-- name: gc_task
DELETE FROM task WHERE run = :run AND id BETWEEN :first AND :last

-- name: gc_attempt
DELETE FROM attempt WHERE run = :run AND task BETWEEN :first AND :last

-- name: gc_failure
DELETE FROM failure WHERE run = :run AND task BETWEEN :first AND :last

-- name: gc_edge
DELETE FROM edge WHERE run = :run AND task BETWEEN :first AND :last

-- name: gc_file
DELETE FROM file WHERE run = :run AND task BETWEEN :first AND :last

-- name: gc_command
DELETE FROM command WHERE run = :run AND task BETWEEN :first AND :last

-- name: gc_output
DELETE FROM output WHERE run = :run AND task BETWEEN :first AND :last

-- name: gc_event
DELETE FROM event WHERE run = :run AND number BETWEEN :first AND :last

-- name: gc_size
-- Tasks, and about how many bytes are written of them: numbers and keys take what they mostly take.
SELECT
    (SELECT COUNT(*) FROM task WHERE run = :run),
    (SELECT 110 * COUNT(*) FROM task WHERE run = :run)
    + (SELECT 50 * COUNT(*) FROM attempt WHERE run = :run)
    + (SELECT 12 * COUNT(*) FROM edge WHERE run = :run)
    + (SELECT COALESCE(SUM(LENGTH(message) + LENGTH(traceback) + LENGTH(arguments) + 50), 0) FROM failure WHERE run = :run)
    + (SELECT COALESCE(SUM(LENGTH(path) + 50), 0) FROM file WHERE run = :run)
    + (SELECT COALESCE(SUM(LENGTH(line) + 10), 0) FROM command WHERE run = :run)
    + (SELECT COALESCE(SUM(LENGTH(stdout) + LENGTH(stderr) + 10), 0) FROM output WHERE run = :run)
    + (SELECT COALESCE(SUM(LENGTH(data) + 60), 0) FROM event WHERE run = :run)

-- name: gc_remembered
SELECT run FROM memo UNION SELECT run FROM recent

-- name: gc_results
SELECT COUNT(*), COALESCE(SUM(40 + CASE WHEN object IS NULL THEN size ELSE 0 END + COALESCE(LENGTH(files), 0)), 0)
FROM (SELECT run, key, object, size, files FROM memo UNION ALL SELECT run, key, object, size, files FROM recent)
WHERE run IN (SELECT run FROM temp.gc_goes) AND key NOT IN (SELECT key FROM temp.gc_used)

-- name: gc_objects
SELECT object
FROM (SELECT run, key, object FROM memo UNION ALL SELECT run, key, object FROM recent)
WHERE object IS NOT NULL
    AND NOT (run IN (SELECT run FROM temp.gc_goes) AND key NOT IN (SELECT key FROM temp.gc_used))

-- name: gc_memo_step
SELECT key FROM memo WHERE key > :after ORDER BY key LIMIT 1 OFFSET :step

-- name: gc_memo
DELETE FROM memo
WHERE key > :after AND (:upto IS NULL OR key <= :upto)
    AND run IN (SELECT run FROM temp.gc_goes) AND key NOT IN (SELECT key FROM temp.gc_used)

-- name: gc_recent
DELETE FROM recent
WHERE id BETWEEN :first AND :last
    AND run IN (SELECT run FROM temp.gc_goes) AND key NOT IN (SELECT key FROM temp.gc_used)

-- name: gc_newest
SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'run'

-- name: gc_unused_texts
SELECT id FROM text
EXCEPT SELECT name FROM task
EXCEPT SELECT engine FROM task
EXCEPT SELECT place FROM task
EXCEPT SELECT engine FROM attempt
EXCEPT SELECT place FROM attempt

-- name: gc_unused_shapes
SELECT id FROM shape EXCEPT SELECT shape FROM task

-- name: gc_text
DELETE FROM text WHERE id = ?

-- name: gc_shape
DELETE FROM shape WHERE id = ?
