"""A tailnet node inside your process."""
