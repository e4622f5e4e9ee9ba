"""Every verb becomes a command."""
