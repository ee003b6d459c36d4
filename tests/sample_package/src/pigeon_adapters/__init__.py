"""Adapters of every port, for Casparian Flow."""
