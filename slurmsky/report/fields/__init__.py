"""Values of records, field by field."""
