"""The one error that the project raises for input that it cannot accept."""


class SteeringError(ValueError):
    """Bad input, told in one sentence: what was wrong, both values, what to do."""
