"""The demo's annotation team: four weeks of plausible work in two organizations, and what they do right now.

Each day is made from the seed and its date alone. A second demo on another day therefore sends the days that both have
in common once more, event for event, and the store keeps them once.

Imports `pipeline`. Begin with `history`.
"""

from cvat_analytics.demo.history import DAYS, history, live
from cvat_analytics.demo.people import MEMBERS

__all__ = ["DAYS", "MEMBERS", "history", "live"]
