"""The call plane: one pure state table, and the thin service that keeps live calls and their events."""
