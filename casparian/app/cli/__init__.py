"""The two programs: `casparian`, the operator's tool, and `casparian-engine`, the daemon."""
