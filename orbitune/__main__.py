"""`python -m orbitune` is the same as `orbitune`."""

from orbitune.cli.app import main

main()
