"""What a source says of its network, held against what the network of the table computes."""
