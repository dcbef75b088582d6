"""The pytest plug-in: fixtures for emulated batch systems and for the suites."""
