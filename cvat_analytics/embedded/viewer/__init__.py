"""The viewer: a substitute for Grafana where none is installed. It is not Grafana and says so on every page.

It reads the configuration that was rendered for Grafana, runs the dashboards' own SQL against the real ClickHouse and
sends the rows to the browser, where the modules in `static/js` draw them. What it cannot draw it names. It is for
looking and for tests, never evidence about Grafana.

    python -m cvat_analytics.embedded.viewer --config /etc/grafana/cvat-analytics.ini --clickhouse-http-port 8123
"""
