"""The `tsnet` command."""
