"""Adapters of the port FileSource."""
