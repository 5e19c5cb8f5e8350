"""HTTP/1.1 requests to servers outside the tailnet and beside control's channel, as a machine over links."""
