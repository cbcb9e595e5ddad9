"""What the operator has decided: settings, hosts, ports, limits; validated before a host is touched.

Imports `base` and `credentials`. Begin with `settings`, the model of every setting; `topology` and `endpoints` say which part is where.
"""
