"""`python -m lqtheory` is the command line."""

from .cli import main

main()
