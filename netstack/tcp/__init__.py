"""TCP: the transmission control block, and the functions that a segment, a turn and the clock apply to it."""
