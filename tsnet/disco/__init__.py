"""Which destination reaches each peer now."""
