"""The forms that a port can be written in."""
