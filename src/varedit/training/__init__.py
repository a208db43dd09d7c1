"""Training of the autoencoder and of the editor. Imports the core; nothing in the core imports it."""
