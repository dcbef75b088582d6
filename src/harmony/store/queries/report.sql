-- What the report page is made of. NULL numbers come as -1, so that they fit into arrays.

-- name: report_texts
SELECT id, value FROM text

-- name: report_shapes
SELECT id, value FROM shape

-- name: report_tasks
SELECT
    id, name, shape, state, accepted,
    ifnull(started, -1), ifnull(ended, -1), ifnull(seconds, -1), ifnull(cpu, -1),
    CAST(ifnull(memory, -1) AS INTEGER), CAST(ifnull(read, -1) AS INTEGER), CAST(ifnull(written, -1) AS INTEGER),
    ifnull(engine, -1), ifnull(place, -1), attempts, ifnull(path, -1), CASE WHEN origin_run != :run THEN origin_run ELSE -1 END
FROM task
WHERE run = :run
ORDER BY id

-- name: report_attempts
SELECT
    task, number, ifnull(engine, -1), ifnull(place, -1), ifnull(started, -1), ifnull(ended, -1), ifnull(seconds, -1)
FROM attempt
WHERE run = :run
ORDER BY task, number

-- name: report_edges
SELECT task, parent
FROM edge
WHERE run = :run
ORDER BY task, parent

-- name: report_failures
SELECT task, attempt, type, message, root
FROM failure
WHERE run = :run
ORDER BY task, attempt

-- name: report_failure
SELECT traceback, arguments, exit_code, signal
FROM failure
WHERE run = :run AND task = :task AND attempt = :attempt
