"""What the stack costs, measured, and compared with targets. `make bench` runs it."""
