"""The parts of ``speedrun.py``: recipes, their sizes, the summary and the report."""
