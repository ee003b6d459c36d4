"""Plugin hosts: what starts, watches, limits and ends sidecars."""
