"""srun and its kin inside an allocation."""
