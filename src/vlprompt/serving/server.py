"""Starts the server, says when it is ready, and stops it in order.

LitServe starts a process for HTTP and one or more that predict. This process checks the run first, so that a mistake
is one line here and not a trace of a worker, and afterwards waits for Ctrl-C or SIGTERM: then no new connections are
taken, requests under way are answered, and all processes end.
"""

from __future__ import annotations

import multiprocessing.connection
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from vlprompt.errors import MissingExtra, OptionError, RunError
from vlprompt.serving.serve_options import ServeOptions

GRACE = 30  # seconds that requests under way have when the server stops
DIED = "a process of the server has died (killed, or out of memory), so the server stops"


def serve(
    run: str | Path,
    options: ServeOptions | None = None,
    *,
    backbone: str | None = None,
    device: str = "auto",
    precision: str | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Answers HTTP requests until Ctrl-C or SIGTERM; in the main thread.

    run: a run folder, or the id of one on the hub. backbone, device, precision: as `Run.load` takes them.
    on_ready: told the address, once requests are answered.
    """
    options = options or ServeOptions()
    try:
        from litserve import LitServer

        from vlprompt.serving.api import PromptAPI
        from vlprompt.serving.batching import log_to_stderr

        class Server(LitServer):
            """LitServe's, with `Listening` sockets, and with processes that know of each other's death."""

            speaking: Collection[Any] = ()

            def _init_manager(self, count: int) -> Any:
                log_to_stderr()  # once `run` has set it up, and before processes are made
                manager = super()._init_manager(count)
                turns.helper = getattr(getattr(manager, "_process", None), "pid", None)
                return manager

            def _start_server(
                self, port: int, count: int, log_level: str, sockets: Any, *rest: Any, **more: Any
            ) -> Any:
                own = list(map(Listening, sockets))
                found = super()._start_server(port, count, log_level, own, *rest, **more)
                self.speaking = tuple(found.values())
                return found

            def _perform_graceful_shutdown(self, manager: Any, workers: Any, reason: str = "normal") -> None:
                if (
                    not stopping.asked.is_set()
                ):  # then a process has died, and requests in its hands get no answer
                    turns.lose()
                super()._perform_graceful_shutdown(manager, workers, reason)

    except ImportError as error:
        raise MissingExtra("LitServe", "serve", "vlprompt serve") from error
    from vlprompt.serving.equipment import equip
    from vlprompt.serving.metrics import Metrics
    from vlprompt.serving.requests import Reader
    from vlprompt.serving.turns import Turns
    from vlprompt.web_guards import patient, quieten_log

    quieten_log()
    check_port(options)
    facts, preprocessing = describe(run, options, backbone, device)
    turns = Turns(options.workers)
    api = PromptAPI(str(run), backbone, device, precision, options, turns)
    server = Server(
        api,
        accelerator="cpu",
        workers_per_device=options.workers,
        timeout=options.timeout,
        model_metadata=facts,
        disable_openapi_url=True,  # its page loads scripts from elsewhere
    )
    equip(server.app, options, Reader(options, preprocessing, Metrics()), turns)
    stopping = Stopping(server)
    threading.Thread(target=watch, args=(options, stopping, on_ready), daemon=True).start()
    try:
        server.run(
            host=options.host,
            port=options.port,
            num_api_servers=1,
            log_level="warning",
            generate_client_file=False,
            access_log=False,
            ws="none",
            http=patient(body_seconds=options.timeout + 5),  # the reader says why, if it can
        )
    except RuntimeError as error:
        raise RunError(
            f"{run}: the run could not be loaded by the process that predicts; its message is above"
        ) from error
    except (EOFError, OSError) as error:  # LitServe has ended its processes, and with them what it waits for
        if not stopping.asked.is_set():
            raise RunError(DIED) from error
    except KeyboardInterrupt:  # before it was ready
        pass
    finally:
        stopping.restore()
        for worker in getattr(server, "inference_workers", []):
            worker.kill()  # those that are left: they answer nobody any more
    if stopping.died:
        raise RunError(DIED)


def describe(
    run: str | Path, options: ServeOptions, backbone: str | None, device: str
) -> tuple[dict[str, Any], Any]:
    """What GET /info says of the run, and its preprocessing; raises what `Run.load` raises.

    The run is loaded for that and forgotten again; its fingerprint needs all weights of the backbone.
    """
    from vlprompt.backbones.loading import choose_device
    from vlprompt.runs.run import Run
    from vlprompt.serving.api import coverage_of

    choose_device(device)
    loaded = Run.load(run, backbone, device="cpu", precision="float32")
    info, own = loaded.info, loaded.backbone
    coverage = coverage_of(info, options)
    facts: dict[str, Any] = {
        "method": info.method,
        "classes": list(loaded.class_names),
        "backbone": {
            "name": Path(own.name).name if Path(own.name).is_absolute() else own.name,
            "fingerprint": own.fingerprint,
        },
        "unknown": None if coverage is False else {"coverage": coverage},
        "limits": {
            name: asdict(options)[name]
            for name in ("max_bytes", "max_pixels", "max_pictures", "max_waiting", "timeout")
        },
        "batching": {"max_batch_size": options.max_batch_size, "batch_timeout": options.batch_timeout},
    }
    return facts, own.preprocessing


def check_port(options: ServeOptions) -> None:
    """OptionError if somebody else listens there."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((options.host, options.port))
        except OSError as error:
            raise OptionError(
                f"port {options.port} cannot be used ({error.strerror}): choose another (--port)"
            ) from error


class Listening(socket.socket):
    """A listening socket that listens no more once one process closes it.

    LitServe's other processes hold it too, so that the kernel would go on taking connections that nobody answers. Its
    twin is the same socket for the kernel: uvloop closes the number of this one before it calls `close`.
    """

    def __init__(self, twin: socket.socket) -> None:
        super().__init__(fileno=twin.dup().detach())
        self.twin = twin

    def close(self) -> None:
        with suppress(OSError):  # closed before; or a system where this is no way to end it
            self.twin.shutdown(socket.SHUT_RDWR)
        super().close()


class Stopping:
    """What Ctrl-C and SIGTERM do: before the server is ready they end it at once, afterwards in order.

    LitServe waits in this process for an event that lives in another one. It cannot be set inside a signal
    handler, which may interrupt just that conversation, so that a thread sets it.
    """

    def __init__(self, server: Any) -> None:
        self.server = server
        self.ready = self.died = False
        self.asked = threading.Event()
        self._owner = os.getpid()
        server.uvicorn_graceful_timeout = GRACE
        signals = (signal.SIGINT, signal.SIGTERM)
        self._before = {number: signal.signal(number, self._caught) for number in signals}
        threading.Thread(target=self._stop, daemon=True).start()

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # forked processes are stopped by this one, each at its time
            return
        if self.ready:
            self.asked.set()
        else:
            raise KeyboardInterrupt

    def lose(self) -> None:
        """The process that speaks HTTP is gone: nobody would answer whoever connects."""
        if not self.asked.is_set():
            self.died = True
            with suppress(EOFError, OSError):  # it ends already
                self.server._shutdown_event.set()

    def _stop(self) -> None:
        self.asked.wait()
        self.server._shutdown_event.set()


def watch(options: ServeOptions, stopping: Stopping, on_ready: Callable[[str], None] | None) -> None:
    """Waits until the server answers, and says so."""
    from vlprompt.serving.equipment import address

    where = address(options)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            with opener.open(f"{where}/health", timeout=5):
                break
        except urllib.error.HTTPError as error:
            if error.code not in (502, 503):
                break  # it answers, if only to those with a key
        except OSError:
            pass
        if any(process.exitcode is not None for process in speaking(stopping.server)):
            stopping.lose()  # it answered others, or never will
            return
        time.sleep(0.1)
    stopping.ready = True
    if on_ready is not None:
        on_ready(where)
    while not stopping.server.speaking:
        time.sleep(0.1)
    sentinels = [process.sentinel for process in speaking(stopping.server)]
    if sentinels:
        multiprocessing.connection.wait(sentinels)
        stopping.lose()


def speaking(server: Any) -> list[Any]:
    """The processes that speak HTTP, once there are some (LitServe may have threads in their place)."""
    return [one for one in server.speaking if hasattr(one, "sentinel")]
