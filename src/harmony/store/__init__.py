"""The store: what became of every run and task, in one SQLite file; and what tasks came to, to be had again."""
