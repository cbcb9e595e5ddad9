"""The library behind the deploy, the operator's commands and the embedded stack. No terminal I/O here.

Its rooms, lowest first; each imports only from those before it (tests/test_rooms.py holds them to it): base, credentials,
config, connect, store, dashboards, rendering, gateway, pipeline, importing, api, checks, operate, embedded, demo.
"""
