"""srun and related commands inside an allocation."""
