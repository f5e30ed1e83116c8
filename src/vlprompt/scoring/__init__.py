"""Scoring: how right a method is, how sure, and when it had better not answer."""
