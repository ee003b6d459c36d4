"""Casparian Flow: file versions in, published rows out, exactly once, each traceable to its source."""
