"""Readers of editing sets: one file a container format, and one table that says how each known set uses it."""
