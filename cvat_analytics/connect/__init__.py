"""Ways to a running stack."""
