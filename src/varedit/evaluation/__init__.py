"""How good an editor is: scenes with known answers, what counts as success, and reports of it."""
