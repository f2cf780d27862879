"""Starts workers and watches over them. Imports no torch."""
