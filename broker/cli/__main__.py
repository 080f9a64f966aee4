"""Lets `python -m broker.cli` do what `broker` does."""

from broker.cli.program import main

main()
