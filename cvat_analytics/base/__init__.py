"""What every room stands on: errors, timestamps, TLS contexts, where the project's own files are.

Imports nothing of ours; everything may import it. Some of it runs on the hosts' own Python 3.10, with the events API.
Begin with `errors`: what an operator reads when something is wrong; `codes` are the causes, codes.md says more of each.
"""
