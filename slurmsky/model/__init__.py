"""Records and enums of all packages; values without behaviour."""
