"""Bring a part to another host while events come in: each step noted on both hosts, so that what was cut off is completed. Begin with `steps`."""
