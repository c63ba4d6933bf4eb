"""The controller's services beside scheduling: crontab, mail, triggers, budgets, SkyPilot's jobs."""
