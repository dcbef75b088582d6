"""The launchers that come with Harmony, one file each."""
