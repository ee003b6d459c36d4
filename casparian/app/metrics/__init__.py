"""Prometheus metrics, health and readiness of one engine, on an address of its own."""
