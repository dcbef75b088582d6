"""The batch systems that come with Harmony, one file each."""
