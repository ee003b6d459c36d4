"""Adapters of the port Sink."""
