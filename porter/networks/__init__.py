"""PyTorch networks that timm has no entry point for, as data: timm's own classes and named adjustments."""
