"""The way in for people: gateway, events API and its archive for hosts, exports, and what CVAT and its proxy have to be told."""
