"""What `make check` and `make format` do beside ruff and mypy. Nothing of the product imports it, and no wheel holds it.

`run` is the one command for everything, `text.py` formats what has no formatter of its own, and `package.json` names the
tools for JavaScript. They are apart from the product's packages, so that an installation never fetches them.
"""
