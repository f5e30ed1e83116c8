"""Towers: modules that turn tokens or pixels into features, and know no method."""
