"""What a hardening teaches, one file a method."""
