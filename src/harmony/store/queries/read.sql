-- What history.py asks. In each, :run is a run's id.

-- name: runs
SELECT r.id, r.uuid, r.campaign, c.program, c.workflow, c.ordinal, r.resumes, r.argv, r.directory, r.user, r.host,
       r.pid, r.lock, r.engines, r.cores, r.environment, r.began, r.monotonic, r.told, r.waiting, r.submitted,
       r.running, r.done, r.failed, r.cancelled, r.recalled, r.ended, r.state, r.work, r.critical_path
FROM run r JOIN campaign c ON c.id = r.campaign
WHERE (:run IS NULL OR r.id = :run) AND (:workflow IS NULL OR c.workflow = :workflow)
ORDER BY r.id DESC
LIMIT :limit

-- name: workflows
SELECT DISTINCT workflow FROM campaign ORDER BY workflow

-- name: tasks
SELECT t.run, t.id, n.value, t.kind, t.state, t.accepted, t.started, t.ended, t.seconds, t.cpu, t.memory, t.read,
       t.written, e.value, p.value, t.attempts, t.path, t.origin_run, t.origin_task, s.value
FROM task t
LEFT JOIN text n ON n.id = t.name
LEFT JOIN text e ON e.id = t.engine
LEFT JOIN text p ON p.id = t.place
LEFT JOIN shape s ON s.id = t.shape
WHERE t.run = :run AND (:state IS NULL OR t.state = :state)
  AND (:name IS NULL OR n.value = :name OR n.value GLOB :name)
ORDER BY t.id
LIMIT :limit

-- name: tasks_sorted
SELECT t.run, t.id, n.value, t.kind, t.state, t.accepted, t.started, t.ended, t.seconds, t.cpu, t.memory, t.read,
       t.written, e.value, p.value, t.attempts, t.path, t.origin_run, t.origin_task, s.value
FROM task t
LEFT JOIN text n ON n.id = t.name
LEFT JOIN text e ON e.id = t.engine
LEFT JOIN text p ON p.id = t.place
LEFT JOIN shape s ON s.id = t.shape
WHERE t.run = :run AND (:state IS NULL OR t.state = :state)
  AND (:name IS NULL OR n.value = :name OR n.value GLOB :name)
ORDER BY (CASE :order WHEN 'slowest' THEN t.seconds ELSE t.ended END) IS NULL,
         CASE :order WHEN 'slowest' THEN -t.seconds ELSE t.ended END, t.id
LIMIT :limit

-- name: running
-- By the index task_running, however many tasks the run has.
SELECT t.run, t.id, n.value, t.kind, t.state, t.accepted, t.started, t.ended, t.seconds, t.cpu, t.memory, t.read,
       t.written, e.value, p.value, t.attempts, t.path, t.origin_run, t.origin_task, s.value
FROM task t INDEXED BY task_running
LEFT JOIN text n ON n.id = t.name
LEFT JOIN text e ON e.id = t.engine
LEFT JOIN text p ON p.id = t.place
LEFT JOIN shape s ON s.id = t.shape
WHERE t.run = :run AND t.state = 2 AND (:name IS NULL OR n.value = :name OR n.value GLOB :name)
ORDER BY CASE WHEN :order = 'slowest' THEN t.started IS NULL END, CASE WHEN :order = 'slowest' THEN t.started END, t.id
LIMIT :limit

-- name: task
SELECT t.run, t.id, n.value, t.kind, t.state, t.accepted, t.started, t.ended, t.seconds, t.cpu, t.memory, t.read,
       t.written, e.value, p.value, t.attempts, t.path, t.origin_run, t.origin_task, s.value, t.key
FROM task t
LEFT JOIN text n ON n.id = t.name
LEFT JOIN text e ON e.id = t.engine
LEFT JOIN text p ON p.id = t.place
LEFT JOIN shape s ON s.id = t.shape
WHERE t.run = :run AND t.id = :task

-- name: attempts
SELECT a.task, a.number, 4, e.value, p.value, a.started, a.ended, a.seconds
FROM attempt a
LEFT JOIN text e ON e.id = a.engine
LEFT JOIN text p ON p.id = a.place
WHERE a.run = :run AND (:task IS NULL OR a.task = :task)
UNION ALL
SELECT t.id, t.attempts, t.state, e.value, p.value, t.started, t.ended,
       t.seconds - (SELECT COALESCE(SUM(a.seconds), 0) FROM attempt a WHERE a.run = t.run AND a.task = t.id)
FROM task t
LEFT JOIN text e ON e.id = t.engine
LEFT JOIN text p ON p.id = t.place
WHERE t.run = :run AND t.started IS NOT NULL AND (:task IS NULL OR t.id = :task)
ORDER BY 1, 2

-- name: failures
SELECT task, attempt, type, message, traceback, arguments, exit_code, signal, root
FROM failure
WHERE run = :run AND (:task IS NULL OR task = :task)
ORDER BY task, attempt

-- name: roots
-- How many failures have no other task's as their reason, counted to :limit.
SELECT COUNT(*) FROM (SELECT 1 FROM failure INDEXED BY failure_root WHERE run = :run AND root LIMIT :limit)

-- name: last_failed
-- The tasks that have failed last by their own fault, found by these failures: quick where there are few.
SELECT t.id
FROM (SELECT DISTINCT task FROM failure INDEXED BY failure_root WHERE run = :run AND root) f
CROSS JOIN task t ON t.run = :run AND t.id = f.task AND t.state = 4
ORDER BY t.ended DESC, t.id DESC
LIMIT :limit

-- name: last_failed_of_many
-- The same, found by going back in time: quick where many of those that failed did so by their own fault.
SELECT t.id
FROM task t INDEXED BY task_failed
WHERE t.run = :run AND t.state = 4
  AND EXISTS (SELECT 1 FROM failure f INDEXED BY failure_root WHERE f.run = :run AND f.task = t.id AND f.root)
ORDER BY t.ended DESC, t.id DESC
LIMIT :limit

-- name: last_failure
SELECT f.task, f.attempt, f.type, f.message, f.traceback, f.arguments, f.exit_code, f.signal, f.root, n.value, t.ended
FROM task t
JOIN failure f ON f.run = t.run AND f.task = t.id
LEFT JOIN text n ON n.id = t.name
WHERE t.run = :run AND t.id = :task
ORDER BY f.attempt DESC
LIMIT 1

-- name: errors
-- An attempt ended its task if the task has failed and no later attempt did.
SELECT type, message, SUM(final) AS tasks, SUM(1 - final) AS retried, MIN(task) AS first, name
FROM (
    SELECT f.type, f.message, f.task, n.value AS name,
           (t.state IS 4 AND f.attempt = (SELECT MAX(g.attempt) FROM failure g WHERE g.run = f.run AND g.task = f.task))
           AS final
    FROM failure f
    LEFT JOIN task t ON t.run = f.run AND t.id = f.task
    LEFT JOIN text n ON n.id = t.name
    WHERE f.run = :run AND f.root
)
GROUP BY type, message
ORDER BY tasks DESC, retried DESC, first

-- name: names
SELECT n.value, g.count, g.done, g.recalled, g.failed, g.cancelled, g.running, g.timed, g.seconds, g.cpu, g.memory
FROM (
    SELECT name, COUNT(*) AS count, SUM(state = 3) AS done, SUM(origin_run IS NOT NULL AND origin_run != :run) AS recalled,
           SUM(state = 4) AS failed, SUM(state = 5) AS cancelled, SUM(state = 2) AS running,
           SUM(started IS NOT NULL AND seconds IS NOT NULL) AS timed,
           SUM(CASE WHEN started IS NOT NULL THEN seconds END) AS seconds, SUM(cpu) AS cpu, MAX(memory) AS memory
    FROM task
    WHERE run = :run
    GROUP BY name
) g
LEFT JOIN text n ON n.id = g.name
ORDER BY g.seconds DESC, n.value

-- name: parents
SELECT e.parent, n.value, t.state
FROM edge e
LEFT JOIN task t ON t.run = e.run AND t.id = e.parent
LEFT JOIN text n ON n.id = t.name
WHERE e.run = :run AND e.task = :task
ORDER BY e.parent

-- name: children
SELECT e.task, n.value, t.state
FROM edge e
LEFT JOIN task t ON t.run = e.run AND t.id = e.task
LEFT JOIN text n ON n.id = t.name
WHERE e.run = :run AND e.parent = :task
ORDER BY e.task

-- name: edges
SELECT task, parent FROM edge WHERE run = :run ORDER BY task, parent

-- name: files
SELECT task, role, path, size, mtime, digest FROM file
WHERE run = :run AND (:task IS NULL OR task = :task)
ORDER BY task, role, path

-- name: commands
SELECT task, line FROM command WHERE run = :run ORDER BY task

-- name: command
SELECT line FROM command WHERE run = :run AND task = :task

-- name: output
SELECT stdout, stderr FROM output WHERE run = :run AND task = :task

-- name: shapes
SELECT id, value FROM shape ORDER BY id

-- name: event_rows
SELECT kind, subject, time, monotonic, data FROM event WHERE run = :run ORDER BY monotonic, number

-- name: event_accepted
SELECT t.accepted, t.id, n.value, t.kind, s.value,
       (SELECT GROUP_CONCAT(parent) FROM edge e WHERE e.run = t.run AND e.task = t.id)
FROM task t
LEFT JOIN text n ON n.id = t.name
LEFT JOIN shape s ON s.id = t.shape
WHERE t.run = :run
ORDER BY t.accepted, t.id

-- name: event_recalled
SELECT t.ended, t.id, n.value, t.origin_run, t.origin_task
FROM task t
LEFT JOIN text n ON n.id = t.name
WHERE t.run = :run AND t.origin_run IS NOT NULL
ORDER BY t.ended, t.id

-- name: event_started
SELECT a.started, a.task, n.value, a.number, e.value, p.value
FROM (
    SELECT run, task, number, started, engine, place FROM attempt WHERE run = :run AND started IS NOT NULL
    UNION ALL
    SELECT run, id, attempts, started, engine, place FROM task WHERE run = :run AND started IS NOT NULL
) a
LEFT JOIN task t ON t.run = a.run AND t.id = a.task
LEFT JOIN text n ON n.id = t.name
LEFT JOIN text e ON e.id = a.engine
LEFT JOIN text p ON p.id = a.place
ORDER BY a.started, a.task

-- name: event_attempt_failed
SELECT a.ended, a.task, n.value, a.number, f.type, f.message, a.seconds
FROM (
    SELECT run, task, number, ended, seconds FROM attempt WHERE run = :run
    UNION ALL
    SELECT run, id, attempts, ended,
           seconds - (SELECT COALESCE(SUM(b.seconds), 0) FROM attempt b WHERE b.run = task.run AND b.task = task.id)
    FROM task WHERE run = :run AND state = 4 AND started IS NOT NULL
) a
LEFT JOIN task t ON t.run = a.run AND t.id = a.task
LEFT JOIN text n ON n.id = t.name
LEFT JOIN failure f ON f.run = a.run AND f.task = a.task AND f.attempt = a.number
WHERE a.ended IS NOT NULL
ORDER BY a.ended, a.task

-- name: event_ended
SELECT t.ended, t.id, n.value, t.state, t.seconds, t.cpu, t.memory, t.read, t.written, f.type, f.message, f.root
FROM task t
LEFT JOIN text n ON n.id = t.name
LEFT JOIN failure f ON f.run = t.run AND f.task = t.id AND t.state = 4
  AND f.attempt = (SELECT MAX(g.attempt) FROM failure g WHERE g.run = t.run AND g.task = t.id)
WHERE t.run = :run AND t.state >= 3 AND t.ended IS NOT NULL
ORDER BY t.ended, t.id

-- name: event_files
SELECT CASE f.role WHEN 'input' THEN COALESCE(t.started, t.ended) ELSE t.ended END AS at, f.task, f.role, f.path,
       f.size, f.digest
FROM file f
JOIN task t ON t.run = f.run AND t.id = f.task
WHERE f.run = :run AND at IS NOT NULL
ORDER BY at, f.task, f.path
