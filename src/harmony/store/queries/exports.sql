-- What the exports read, in the order in which they write it. A recalled task's files and command are those of the
-- task that did its work, where the run itself kept none.

-- name: export_origins
SELECT t.id, o.run, o.id, n.value, o.kind, o.state, o.accepted, o.started, o.ended, o.seconds, o.cpu, o.memory,
    o.read, o.written, e.value, p.value, o.attempts, o.path, o.origin_run, o.origin_task, s.value
FROM task AS t
JOIN task AS o ON o.run = t.origin_run AND o.id = t.origin_task
JOIN text AS n ON n.id = o.name
JOIN shape AS s ON s.id = o.shape
LEFT JOIN text AS e ON e.id = o.engine
LEFT JOIN text AS p ON p.id = o.place
WHERE t.run = :run AND t.origin_run IS NOT NULL
ORDER BY t.id;

-- name: export_children
SELECT parent, task FROM edge WHERE run = :run ORDER BY parent, task;

-- name: export_files
SELECT task, role, path, size, mtime, digest FROM file WHERE run = :run
UNION ALL
SELECT t.id, f.role, f.path, f.size, f.mtime, f.digest
FROM task AS t
JOIN file AS f ON f.run = t.origin_run AND f.task = t.origin_task
WHERE t.run = :run AND t.origin_run IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM file AS own WHERE own.run = t.run AND own.task = t.id)
ORDER BY 1, 2, 3;

-- name: export_commands
SELECT task, line FROM command WHERE run = :run
UNION ALL
SELECT t.id, c.line
FROM task AS t
JOIN command AS c ON c.run = t.origin_run AND c.task = t.origin_task
WHERE t.run = :run AND t.origin_run IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM command AS own WHERE own.run = t.run AND own.task = t.id)
ORDER BY 1;

-- name: export_outputs
SELECT task, substr(stdout, -:characters) FROM output WHERE run = :run ORDER BY task;

-- name: export_attempts
SELECT a.task, a.number, e.value, p.value, a.started, a.ended
FROM attempt AS a
LEFT JOIN text AS e ON e.id = a.engine
LEFT JOIN text AS p ON p.id = a.place
WHERE a.run = :run
ORDER BY a.task, a.number;

-- name: export_hosts
SELECT subject, data FROM event WHERE run = :run AND kind = 'worker.started' ORDER BY number;

-- name: export_spans
SELECT t.id, n.value, t.attempts, t.started, t.ended, e.value, p.value, t.state, t.seconds, t.cpu, t.memory
FROM task AS t
JOIN text AS n ON n.id = t.name
LEFT JOIN text AS e ON e.id = t.engine
LEFT JOIN text AS p ON p.id = t.place
WHERE t.run = :run AND t.started IS NOT NULL AND t.ended IS NOT NULL AND t.origin_run IS NULL
UNION ALL
SELECT a.task, n.value, a.number, a.started, a.ended, e.value, p.value, NULL, a.seconds, NULL, NULL
FROM attempt AS a
JOIN task AS t ON t.run = a.run AND t.id = a.task
JOIN text AS n ON n.id = t.name
LEFT JOIN text AS e ON e.id = a.engine
LEFT JOIN text AS p ON p.id = a.place
WHERE a.run = :run AND a.started IS NOT NULL AND a.ended IS NOT NULL
ORDER BY 5, 4, 1;
