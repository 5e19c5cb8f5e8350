"""What control told us, as immutable values."""
