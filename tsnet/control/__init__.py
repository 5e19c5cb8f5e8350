"""ts2021, register, map: what both sides speak. The node's side is in `client`, an embedded tailnet's in `server`."""
