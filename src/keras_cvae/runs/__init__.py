"""Runs: a configuration, its model, a folder that it trains into."""
