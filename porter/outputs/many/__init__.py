"""Many ports at once: names of outputs, processes that port, what is there already."""
