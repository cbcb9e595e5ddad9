"""The one way to ask an address of the stack by HTTP.

A proxy of the environment (`http_proxy` and its kin) never has a part in it: most of these addresses are this machine's own
loopback, some of them a port that SSH forwards, and a company's proxy knows neither. Drivers that bring a client of their own
are told the same in `access`. What comes from outside, as a vendor's plugin does, goes through the environment's proxy.
"""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cvat_analytics.base.addresses import refusal
from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


def http_client(
    url: str,
    tls: ssl.SSLContext | None = None,
    *,
    timeout: float,
    login: tuple[str, str] | None = None,
) -> httpx.Client:
    """Return a client of what answers at `url`, below which its requests' addresses are; `tls` checks its certificate.

    It takes `timeout` seconds at most for each wait, follows no redirects, and raises httpx.HTTPError.
    """
    # a fifth of a second, for commands that ask something
    import httpx

    # without `tls` nobody's certificate is believed: an empty context is also made a hundred times as fast as httpx's own
    trust = tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.Client(base_url=url, verify=trust, timeout=timeout, auth=login, trust_env=False)


def certificate_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """Return what was wrong with a certificate, if that is why a request has failed."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def no_answer(url: str, error: Exception) -> str:
    """Return in a few words why a request to `url` was not answered."""
    address = urlsplit(url)
    return refusal((address.hostname or "", address.port or 0)) or str(error) or type(error).__name__


@contextmanager
def understood(answer: httpx.Response) -> Iterator[None]:
    """Let what cannot be read from `answer` in the block, as another program than ours has given it, be one of our errors."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError):
        text = " ".join(answer.text.split())[:200]
        raise CvatAnalyticsError(
            Code.ANOTHER_PROGRAM,
            f"what answers {answer.request.url.path} is another program, or another version of it: HTTP {answer.status_code} {text}",
        ) from None
