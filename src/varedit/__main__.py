"""``python -m varedit`` is the command line."""

from varedit.cli import main

main()
