"""What is done to a running stack: a password changed, a buffer set aside, events written into a file, a backup made and brought back, versions
exchanged, a part moved to another host, a person erased, the stock analytics adopted, all of it taken away. Each can be cut off anywhere and
run again.

Imports `checks` and what is below. Begin with `rotation`; `backup`, `upgrade`, `adopt` and `removal` are where the larger ones begin.
"""
