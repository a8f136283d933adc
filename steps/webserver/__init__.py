"""nginx: its package, its daemon, its sites."""
