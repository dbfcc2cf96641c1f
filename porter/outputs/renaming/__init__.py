"""Names of other libraries: renaming tables on top of timm's names, and what else the library wants."""
