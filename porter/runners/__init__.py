"""One process per framework: each runs a network on given inputs and writes a recording."""
