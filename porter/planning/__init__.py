"""From a checkpoint's names and shapes to a closed plan: which network, and where every variable goes."""
