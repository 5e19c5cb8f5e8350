"""What the network around us is like, and which region is our home."""
