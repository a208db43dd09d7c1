"""The public benchmarks of instruction editing, and our own scenes: one file each, one kind of item for all."""
