"""What everything that plugs into Harmony promises, as tests to run: suites, and emulated batch systems."""
