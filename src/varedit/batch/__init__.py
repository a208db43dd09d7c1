"""Many edits: folders and lists of edits, streamed through one model or many, resumed where they stopped."""
