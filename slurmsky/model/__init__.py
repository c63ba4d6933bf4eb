"""Records and enums that all other packages share; values without behaviour."""
