"""Reprise: four cooperative multi-agent RL papers, from the page to a verdict."""

__version__ = "0.1.0"
