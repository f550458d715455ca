"""Task configurations (YAML) and their helpers, one folder per dataset."""
