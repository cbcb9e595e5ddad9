"""Run the substitute: `python -m cvat_analytics.embedded.vector_substitute --config vector.toml`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from cvat_analytics.embedded.vector_substitute import unit_tests
from cvat_analytics.embedded.vector_substitute.config import ConfigError, load
from cvat_analytics.embedded.vector_substitute.metrics import Metrics
from cvat_analytics.embedded.vector_substitute.pipeline import Pipeline
from cvat_analytics.embedded.vector_substitute.sinks import address

log = logging.getLogger("vector-substitute")

CONFIG_ERROR = 78
"""EX_CONFIG, which `vector validate` uses too."""


def main() -> int:
    """Serve until SIGTERM and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="vector-substitute", description="Execute a rendered vector.toml where there is no Vector."
    )
    parser.add_argument("--config", type=Path, required=True, help="the rendered vector.toml")
    parser.add_argument(
        "--check", action="store_true", help="only load the configuration and compile its programs"
    )
    parser.add_argument("--test", type=Path, help="only run the unit tests in this file")
    parser.add_argument(
        "--disk-reserve",
        type=int,
        default=0,
        help="bytes that stay free: with less, requests are answered 503",
    )
    options = parser.parse_args()
    # until there is something to reload, a SIGHUP would end the process
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        config = load(options.config)
        if options.check or options.test:
            Pipeline(config, Metrics())
            for component in config.of_type("http_server", "prometheus_exporter"):
                address(component)
            failures = unit_tests.run(config, options.test) if options.test else []
            for failure in failures:
                log.error("%s", failure)
            log.info("%s: %s", options.config, "tests failed" if failures else "every part is implemented")
            return 1 if failures else 0
        # with its HTTP server: most of what the program loads, and a check needs none of it
        from cvat_analytics.embedded.vector_substitute.service import CannotListenError, Service

        service = Service(options.config, config, options.disk_reserve)
    except ConfigError as error:
        log.error("%s", error)
        return CONFIG_ERROR
    try:
        asyncio.run(service.run())
    except CannotListenError as error:
        log.error("%s", error)
        return 1
    except ConfigError as error:
        log.error("%s", error)
        return CONFIG_ERROR
    except OSError as error:
        log.error("data_dir %s cannot be used: %s", config.data_dir, error)
        return 1
    log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
