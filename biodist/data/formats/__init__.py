"""Formats that mark characters of a text: each module reads one and writes it.

A reader gives `Draft`s, as the file has them; `reading` holds every one to the same rules and gives `Document`s.
"""
