"""The data path, and the whole node as one synchronous object."""
