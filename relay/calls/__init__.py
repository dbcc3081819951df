"""The call plane: one pure state table, and the thin service that keeps live calls, parties and their events."""
