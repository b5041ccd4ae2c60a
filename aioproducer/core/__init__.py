"""Decisions: state without I/O; `now` is an argument."""
