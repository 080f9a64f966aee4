"""Issue just-in-time credentials to AI agents, and take them away again."""
