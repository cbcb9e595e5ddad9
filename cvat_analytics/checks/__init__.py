"""Whether all of it works: the smoke test and its cases, the state of every part.

Imports `api` and what is below it. Begin with `smoke`, whose cases are folders in `smoke_cases/`, or with `status`.
"""
