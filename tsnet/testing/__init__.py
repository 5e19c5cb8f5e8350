"""An embedded tailnet, a simulated world, the pytest plugin."""
