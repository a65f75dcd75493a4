"""The model: its three parts, how they hang together, and what it is asked for."""
