"""The controller's services: crontab, mail, triggers, budgets, SkyPilot's jobs."""
