"""What plugs an application in; third-party imports stay in here."""
