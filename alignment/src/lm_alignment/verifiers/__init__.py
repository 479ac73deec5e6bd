"""Verifiers: functions that say whether a completion is right."""
