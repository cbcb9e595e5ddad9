"""A stand-in for Vector, for machines that have none: it executes the *rendered* `vector.toml`.

It exists so that the embedded stack, its tests and its demo run the same configuration that a host gets, with remap
programs in the real VRL runtime. It keeps the promise of that configuration (200 means "on disk") but it is not Vector
and proves nothing about Vector: not its speed, not its behaviour, not that it accepts the file. A component, option or
value that it cannot honour is refused at start, so that a configuration never seems to work by being ignored.
"""
