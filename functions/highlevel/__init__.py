"""HighLevel's API: the requests to it, and what its responses mean. Knows no AWS; imports only `shared`."""

__version__ = "0.1.0"
