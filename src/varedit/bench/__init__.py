"""How fast an edit is, stage by stage, beside what the device could do at best (docs/speed.md)."""
