"""Jobs on SkyPilot: managed jobs launched, watched and ended over the API server's HTTP interface."""
