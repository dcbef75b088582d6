"""Other systems' names for what Harmony has: a program written for one of them runs as it is."""
