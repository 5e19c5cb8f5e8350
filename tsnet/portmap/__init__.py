"""Port mapping: the home router is asked to let datagrams from outside through to this node's UDP port."""
