"""Adapters of the port PluginHost."""
