"""Tasks: what they are, who waits for whom, which engine runs them. Knows nothing of batch jobs."""
