"""WireGuard (the paper's §5-6) as a machine without IO."""
