"""Event loop, framed channels, TLS."""
