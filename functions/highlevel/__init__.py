"""What this product says to HighLevel, and how it reads the answers. Knows no AWS and imports nothing else of ours."""

__version__ = "0.1.0"
