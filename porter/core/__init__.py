"""What every part shares: element types, layouts, object graphs, checkpoints."""
