"""The hot steps from frames to batches, compiled where possible."""
