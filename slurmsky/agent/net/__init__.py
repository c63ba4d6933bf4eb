"""Event loop, framed channels and TLS."""
