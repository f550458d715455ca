"""What is done to a model: from the arguments of a run to interventions that an engine can load."""
