"""Judges: a model that sees two pictures and an instruction, and answers in numbers (spec "The VLM judge")."""
