"""One call for a port, one for loading what it wrote."""
