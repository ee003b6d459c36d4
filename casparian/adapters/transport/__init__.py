"""Adapters of the port Transport."""
