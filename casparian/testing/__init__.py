"""The contract suites that every adapter must pass."""
