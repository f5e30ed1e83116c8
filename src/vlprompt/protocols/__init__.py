"""Protocols: how methods are compared; each yields records of named values, seed by seed."""
