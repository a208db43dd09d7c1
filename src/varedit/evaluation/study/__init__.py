"""A study with people: which of two edits is better, without knowing whose they are (spec "Human study")."""
