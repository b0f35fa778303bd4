"""Simulated ultrasound: physics (`phantom`), anatomy, and a release with the traps of real ones."""
