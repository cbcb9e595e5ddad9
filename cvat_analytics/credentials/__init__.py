"""Passwords, certificates and local users: files beside the inventory, private, never printed.

Imports `base`. It stands below `config`, which hands out where these files are with an inventory. Begin with `secrets`.
"""
