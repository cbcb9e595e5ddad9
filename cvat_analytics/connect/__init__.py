"""Ways to a running stack: clients of its parts, SSH to its hosts, and what they complain of as errors of ours.

Imports `config` and what is below. Begin with `access`, which a command is given; `remote` makes one for deployed hosts.
"""
