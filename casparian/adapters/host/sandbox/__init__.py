"""The sandbox of a sidecar on Linux: layers that only its own process can put on, each in a file.

They are put on before the plugin's code is loaded, and cannot be taken off again, whatever that
code does. What a layer stops is written in docs/security.md and held by tests/sandbox.
"""
