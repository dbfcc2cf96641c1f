"""What a network computed at every stage, and the seeded inputs and weights it computed it with."""
