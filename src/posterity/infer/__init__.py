"""Floor 4: inference."""

__all__: list[str] = []
