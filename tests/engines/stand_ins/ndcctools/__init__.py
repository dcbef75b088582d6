"""Stands in for the package ndcctools, which pip cannot install: its client API, as far as our engine uses it."""
