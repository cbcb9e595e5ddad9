"""The way in for people: nginx before Grafana and the events API, CVAT's traefik, and what CVAT has to be told.

Imports `rendering` and what is below. Begin with `gateway`; `cvat_env` is what the CVAT side needs.
"""
