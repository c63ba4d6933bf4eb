"""One user's account at SkyPilot: offers, prices, and jobs launched without sbatch."""
