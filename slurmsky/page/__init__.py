"""What people look at: records of jobs as one HTML page that needs nothing but itself. Pure."""
