"""What outlives a node: devices, grants, groups, tickets, call records and webhooks; in SQLite or PostgreSQL."""
