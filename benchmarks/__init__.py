"""Measurements of the engine. `python -m benchmarks` lists and runs them; see README.md."""
