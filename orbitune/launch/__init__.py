"""Runs a mission for real: nodes as processes on an engine, the plan as their program, a new plan after a fault."""
