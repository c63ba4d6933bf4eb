"""A user's account at SkyPilot: offers, prices, foreign jobs."""
