"""A node's life against real parties: its ends, its keys, its control server, its relay."""
