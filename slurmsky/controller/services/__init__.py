"""What the controller does beside scheduling: crontab, mail, triggers, budgets, SkyPilot's jobs."""
