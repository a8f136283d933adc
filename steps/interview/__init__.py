"""What `runbook init` asks, reads and writes."""
