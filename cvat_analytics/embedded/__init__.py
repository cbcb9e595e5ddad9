"""The stack on a laptop: the real ClickHouse engine, Vector and Grafana where they are installed, else substitutes.

`vector_substitute` executes the rendered vector.toml, `viewer` draws the dashboards; neither is evidence about what it stands for.
Imports `checks` and what is below it. Begin with `stack`.
"""
