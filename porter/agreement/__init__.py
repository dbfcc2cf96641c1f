"""Agreement of a source and its port over a data set, image by image."""
