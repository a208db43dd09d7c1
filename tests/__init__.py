"""The test suite; a package, so that its modules can share `tiny` and `golden_files`."""
