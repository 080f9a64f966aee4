"""The command line: `broker NOUN VERB`. Commands speak to a broker through `broker.client`, except the local ones."""

from broker.cli.program import main

__all__ = ["main"]
