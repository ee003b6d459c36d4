"""Adapters of the ports FileCatalog, JobQueue and PluginStore: one database serves all three."""
