"""The reporting checklists CLAIM 2024 and TRIPOD+AI, filled from a run's own facts where it can be."""
