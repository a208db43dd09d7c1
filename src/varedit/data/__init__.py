"""Sources of editing pairs: procedural photo adjustments, and the photographs that they start from."""
