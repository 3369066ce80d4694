"""The recorded stream in bulk: finds the events that decide nothing, and takes them in by whole columns.

`run.py` is the loop: what cannot be shown to decide nothing goes through `Core.feed` as ever.
"""
