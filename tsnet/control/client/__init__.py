"""The node's side of the control protocol."""
