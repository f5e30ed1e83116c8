"""What `vlprompt serve` can be told."""

from __future__ import annotations

from dataclasses import dataclass

from vlprompt.errors import OptionError
from vlprompt.options import OptionSet, option

MOST_PIXELS = 89_478_485  # as in vlprompt.data.pictures, which is not imported for --help


def listed(text: str) -> tuple[str, ...]:
    """The parts of a value that holds several, separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


@dataclass(frozen=True)
class ServeOptions(OptionSet):
    """Options of the server; times in seconds."""

    host: str = option(
        "127.0.0.1",
        "address to listen at; 127.0.0.1: this machine only",
        choices=("127.0.0.1", "0.0.0.0", "::"),
    )
    port: int = option(8000, "port to listen at", low=1024, high=65535)
    max_batch_size: int = option(32, "most pictures that are predicted together; 1: no batching", low=1)
    batch_timeout: float = option(
        0.005, "how long a picture waits for others to join its batch, in seconds", low=0, high=10
    )
    top: int = option(5, "classes in an answer, unless the request asks for another number", low=1)
    reject: float = option(
        0.0,
        "share of known pictures that get an answer other than unknown, such as 0.95, if the run has thresholds for "
        "that; 0: never say unknown, as predict without --reject",
        low=0,
        high=1,
    )
    max_bytes: int = option(20_000_000, "most bytes of a request", low=1)
    max_pixels: int = option(50_000_000, "most pixels of a picture", low=1, high=MOST_PIXELS)
    max_waiting: int = option(64, "requests that may be under way at once; more are told to come back", low=1)
    timeout: float = option(
        30.0, "how long a request may take to arrive, and then to wait, in seconds", low=0.1
    )
    max_pictures: int = option(64, "most pictures in one request", low=1)
    decode_timeout: float = option(
        10.0, "how long a picture may take to be decoded, in seconds; then it is given up", low=0.1
    )
    allow_host: str = option(
        "",
        "names that the server may be called by, besides localhost and addresses, separated by commas; "
        "*: any, if a proxy in front looks after that",
    )
    cors: str = option(
        "", "web pages that may ask, as https://example.org, separated by commas; *: all of them"
    )
    workers: int = option(1, "processes that predict, each with the backbone in its memory", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        for origin in listed(self.cors):
            scheme, _, rest = origin.partition("://")
            if origin != "*" and (scheme not in ("http", "https") or not rest or "/" in rest.rstrip("/")):
                raise OptionError(f'cors is "{origin}": expected an origin such as https://example.org, or *')
