"""Rules of scheduling without state: demand, resources, dependencies, limits, reservations."""
