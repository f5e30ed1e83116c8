"""Runs: what was learned, as a folder; its record, its card, the hub, and other programs' formats."""
