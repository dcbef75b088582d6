-- The store, version 1. Times in `task` and `attempt` are seconds since the run began, by the monotonic clock;
-- `run.began` and `event.time` are seconds since the epoch. Texts that repeat are kept once, in `text`.

-- What is run again and again: a workflow of a program. `ordinal` tells workflows of one name in one program apart.
CREATE TABLE campaign (
    id INTEGER PRIMARY KEY,
    program TEXT NOT NULL,
    workflow TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    UNIQUE (program, workflow, ordinal)
);

-- One execution of it. A run without `state` goes on, or its driver died: whoever holds the lock file tells which.
CREATE TABLE run (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL UNIQUE,
    campaign INTEGER NOT NULL REFERENCES campaign (id),
    resumes INTEGER,                 -- the run of this campaign before it
    argv TEXT NOT NULL,              -- JSON list
    directory TEXT NOT NULL,
    user TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    lock TEXT NOT NULL,              -- file name in locks/
    engines TEXT NOT NULL,           -- JSON list of names
    cores INTEGER NOT NULL,
    environment TEXT NOT NULL,       -- JSON object: python, platform, harmony, packages
    began REAL NOT NULL,
    monotonic REAL NOT NULL,         -- the monotonic clock at `began`
    told REAL NOT NULL DEFAULT 0,    -- seconds since it began, when the counts were last written
    waiting INTEGER NOT NULL DEFAULT 0,
    submitted INTEGER NOT NULL DEFAULT 0,
    running INTEGER NOT NULL DEFAULT 0,
    done INTEGER NOT NULL DEFAULT 0,
    recalled INTEGER NOT NULL DEFAULT 0,  -- of those done: from an earlier run
    failed INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    ended REAL,                      -- seconds since it began
    state TEXT,                      -- 'done', 'failed' (tasks failed), 'stopped' (by an error of the program, or close)
    work REAL,                       -- core-seconds
    critical_path REAL               -- seconds
);

CREATE TABLE text (id INTEGER PRIMARY KEY, value TEXT NOT NULL UNIQUE);

-- What tasks ask for: JSON of resources, walltime, retries, environment, directory, cache; shared by all calls alike.
CREATE TABLE shape (id INTEGER PRIMARY KEY, value TEXT NOT NULL UNIQUE);

-- Tasks that have begun to run or have ended, by their last attempt.
CREATE TABLE task (
    run INTEGER NOT NULL,
    id INTEGER NOT NULL,
    name INTEGER NOT NULL,           -- text
    kind TEXT NOT NULL,              -- 'call', 'command', 'join'
    shape INTEGER NOT NULL,
    state INTEGER NOT NULL,          -- 2 running, 3 done, 4 failed, 5 cancelled
    key BLOB,                        -- its content, by which it is recalled
    accepted REAL NOT NULL,
    started REAL,                    -- of the last attempt; NULL where it never was
    ended REAL,
    seconds REAL,                    -- run time of all attempts
    cpu REAL,                        -- CPU seconds
    memory INTEGER,                  -- peak, bytes
    read INTEGER,                    -- bytes from and to devices
    written INTEGER,
    engine INTEGER,                  -- text
    place INTEGER,                   -- text: the worker
    attempts INTEGER NOT NULL DEFAULT 1,
    path REAL,                       -- seconds of the longest chain of tasks that ends with it
    origin_run INTEGER,              -- where it was done, if it was recalled
    origin_task INTEGER,
    PRIMARY KEY (run, id)
) WITHOUT ROWID;
CREATE INDEX task_running ON task (run) WHERE state = 2;
CREATE INDEX task_failed ON task (run, ended, id, state) WHERE state = 4;

-- Attempts that were followed by another; the last one is the task's row.
CREATE TABLE attempt (
    run INTEGER NOT NULL,
    task INTEGER NOT NULL,
    number INTEGER NOT NULL,         -- from 1
    engine INTEGER,
    place INTEGER,
    started REAL,
    ended REAL,
    seconds REAL,
    PRIMARY KEY (run, task, number)
) WITHOUT ROWID;

-- Why an attempt failed. `root` is false where another task's failure is the reason.
CREATE TABLE failure (
    run INTEGER NOT NULL,
    task INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    type TEXT NOT NULL,              -- the exception's, with its module unless that is builtins
    message TEXT NOT NULL,
    traceback TEXT NOT NULL,
    arguments TEXT NOT NULL,         -- repr, shortened
    exit_code INTEGER,
    signal INTEGER,
    root INTEGER NOT NULL,
    PRIMARY KEY (run, task, attempt)
) WITHOUT ROWID;
CREATE INDEX failure_root ON failure (run, task, attempt, root) WHERE root;

-- Who waited for whom.
CREATE TABLE edge (
    run INTEGER NOT NULL,
    task INTEGER NOT NULL,
    parent INTEGER NOT NULL,
    PRIMARY KEY (run, task, parent)
) WITHOUT ROWID;

-- Files that a task declared, as they were when it ended.
CREATE TABLE file (
    run INTEGER NOT NULL,
    task INTEGER NOT NULL,
    role TEXT NOT NULL,              -- 'input', 'output'
    path TEXT NOT NULL,              -- absolute
    size INTEGER,
    mtime INTEGER,                   -- nanoseconds since the epoch
    digest BLOB,                     -- NULL where it was not computed
    PRIMARY KEY (run, task, role, path)
) WITHOUT ROWID;

-- Command lines, and what tasks printed (the end of it, where it was long).
CREATE TABLE command (run INTEGER NOT NULL, task INTEGER NOT NULL, line TEXT NOT NULL, PRIMARY KEY (run, task)) WITHOUT ROWID;
CREATE TABLE output (
    run INTEGER NOT NULL,
    task INTEGER NOT NULL,
    stdout TEXT NOT NULL,
    stderr TEXT NOT NULL,
    PRIMARY KEY (run, task)
) WITHOUT ROWID;

-- What tasks came to. A small value is here, a large one in the file objects/aa/bbbb… named by its digest in hex.
CREATE TABLE memo (
    key BLOB PRIMARY KEY,
    run INTEGER NOT NULL,            -- where it was done
    task INTEGER NOT NULL,
    value BLOB,
    object BLOB,
    size INTEGER NOT NULL,           -- bytes, pickled
    files TEXT                       -- JSON: files that must still be as they were
) WITHOUT ROWID;

-- What tasks came to, as it was written: in order of time, which costs a third of keeping it in order of key.
-- Beginning a run moves it to `memo`, where it is found.
CREATE TABLE recent (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    run INTEGER NOT NULL,
    task INTEGER NOT NULL,
    value BLOB,
    object BLOB,
    size INTEGER NOT NULL,
    files TEXT
);

-- Rows of `task` and `recent` that were written in one piece, as there was no time to put each in its place. They are
-- put there when there is, at the latest before they are read.
CREATE TABLE chunk (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL,
    data BLOB NOT NULL               -- pickle of {statement: [parameters]}, all atoms
);

-- What goes on outside the driver and can be attached to again.
CREATE TABLE attachment (
    key BLOB PRIMARY KEY,
    run INTEGER NOT NULL,
    task INTEGER NOT NULL,
    engine TEXT NOT NULL,
    handle TEXT NOT NULL
) WITHOUT ROWID;

-- All other events, in the order of `number`: run, engine, worker, job, environment.
CREATE TABLE event (
    run INTEGER NOT NULL,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    time REAL NOT NULL,
    monotonic REAL NOT NULL,
    data TEXT NOT NULL,              -- JSON object
    PRIMARY KEY (run, number)
) WITHOUT ROWID;

-- Contents of files that were read, so that what has not changed is not read again.
CREATE TABLE digest (
    path TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    mtime INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    digest BLOB NOT NULL
) WITHOUT ROWID;
