"""What is done to a running stack: a password changed, a buffer set aside, events written into a file. Each can be cut off anywhere and run again.

Imports `checks` and what is below. Begin with `rotation`.
"""
