"""What the application's side and the node's thread share: bounded queues, waits and wakes."""
