"""Engines: one file or folder for each; none imports another."""
