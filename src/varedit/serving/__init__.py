"""An editor for many people at once: the engine, and HTTP around it."""
