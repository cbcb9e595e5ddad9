"""The demo's events go through the transforms of the pipeline as they do in its own tests."""

from tests.vector.conftest import document, run

__all__ = ["document", "run"]
