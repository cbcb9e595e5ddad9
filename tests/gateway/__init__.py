"""The gateway: a real nginx on its rendered configuration."""
