"""An adapter that cannot be imported: what uses the others must not notice."""

raise ValueError("this module is broken")
