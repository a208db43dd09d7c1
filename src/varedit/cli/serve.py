"""`varedit serve`: parse, check the settings, start the server, say where to look."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from varedit.cli.request import device_option, model_option, precision_option
from varedit.cli.terminal import Terminal, talking
from varedit.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    from varedit.pipeline import VAREditPipeline
    from varedit.serving.settings import ServerSettings

_OPEN = "open {} (Ctrl-C stops the server)"
_RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nobody is told who edits what
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # the rest is about Ray's own matters
}


@click.command()
@model_option
@device_option
@precision_option
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--port", default=8000, show_default=True, metavar="N", help="0 lets the system choose.")
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Holds the key that callers must present; VAREDIT_API_KEY may hold it instead.",
)
@click.option("--no-auth", is_flag=True, help="Let everyone who reaches the address use the server.")
@click.option(
    "--allowed-host", multiple=True, metavar="NAME", help="Another name that the server may be called; repeatable."
)
@click.option(
    "--cors-origin", multiple=True, metavar="ORIGIN", help="A site whose pages may use the server; repeatable."
)
@click.option("--model-alias", multiple=True, metavar="NAME", help="Another name for the model; repeatable.")
@click.option(
    "--compile", "compiles", is_flag=True, help="Compile the model before the server is ready: faster edits on a GPU."
)
@click.option("--max-queue", type=click.IntRange(1), metavar="N", help="Edits that may wait.  [default: 32 or more]")
@click.option("--max-upload-mb", default=50.0, show_default=True, metavar="MB", help="Largest image file.")
@click.option("--max-megapixels", default=50.0, show_default=True, metavar="MP", help="Largest image.")
@click.option(
    "--drain-delay", default=5.0, show_default=True, metavar="S", help="Seconds from SIGTERM to the end of listening."
)
@click.option(
    "--drain-timeout", default=30.0, show_default=True, metavar="S", help="Seconds that running edits then have."
)
@click.option("--strict", is_flag=True, help="Refuse parameters that are not known.")
@click.option("--log-prompts", is_flag=True, help="Write instructions into the log.")
@click.option("--no-docs", is_flag=True, help="Do not show the API at /docs.")
@click.option("--ray", is_flag=True, help="Serve with replicas on the Ray cluster of RAY_ADDRESS, or on this machine.")
@click.option("--replicas", type=click.IntRange(1), metavar="N", help="Replicas that are always there.  [default: 1]")
@click.option("--max-replicas", type=click.IntRange(1), metavar="N", help="Under load.  [default: as --replicas]")
@click.option(
    "--adapter",
    multiple=True,
    metavar="NAME=FOLDER",
    help="With --ray: another model, the base with adapters that training wrote; repeatable.",
)
@talking
@click.pass_obj
def serve(terminal: Terminal, /, **options: Any) -> int:
    """Serve a model: a page for people, and the images API that clients already speak.

    \b
    varedit serve
    varedit serve -m models/2b-512 --device cuda --port 8080
    VAREDIT_API_KEY=... varedit serve --host 0.0.0.0 --allowed-host edits.example.com

    POST /v1/images/edits takes what the official OpenAI client sends; /health, /ready and /metrics are for operators.
    The log goes to stderr, one JSON object a line unless that is a terminal. SIGTERM ends the server after the edits
    that are under way. With --ray the log is in the cluster's own log folders.
    """
    if not options["ray"] and (options["replicas"] or options["max_replicas"] or options["adapter"]):
        raise UsageError("--replicas, --max-replicas and --adapter need --ray")
    if options["ray"] and options["compiles"]:
        raise UsageError("--compile does not go with --ray; leave one of them out")
    try:
        from varedit.serving.logs import log_to_stderr
        from varedit.serving.server import Server, service_of
    except ModuleNotFoundError as error:
        raise MissingExtra("Serving", "serve") from error
    from varedit.serving.settings import ServerSettings, read_api_key

    settings = ServerSettings(
        host=options["host"],
        port=options["port"],
        api_key=read_api_key(os.environ, options["api_key_file"]),
        no_auth=options["no_auth"],
        allowed_hosts=options["allowed_host"],
        cors_origins=options["cors_origin"],
        docs=not options["no_docs"],
        max_upload_bytes=round(options["max_upload_mb"] * 2**20),
        max_pixels=round(options["max_megapixels"] * 1e6),
        model_aliases=options["model_alias"],
        drain_delay=options["drain_delay"],
        drain_timeout=options["drain_timeout"],
        log_prompts=options["log_prompts"],
        strict=options["strict"],
    )
    if options["ray"]:
        return _serve_on_ray(terminal, settings, options)

    def load() -> VAREditPipeline:
        from varedit.pipeline import VAREditPipeline

        pipeline = VAREditPipeline.from_pretrained(
            options["model"], device=options["device"], dtype=options["precision"], compile=options["compiles"]
        )
        if options["compiles"]:
            pipeline.warm_up()
        return pipeline

    log_to_stderr()
    service = service_of(load, settings, max_queue=options["max_queue"])
    return Server(service, lambda address: terminal.say(_OPEN.format(address))).serve_here()


def _serve_on_ray(terminal: Terminal, settings: ServerSettings, options: dict[str, Any]) -> int:
    for name, value in _RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if "RAY_ADDRESS" not in os.environ and "RAY_AUTH_MODE" not in os.environ:  # whoever reaches Ray's ports runs code
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        from varedit.serving.ray_session import serve_on_ray
    except ModuleNotFoundError as error:
        raise MissingExtra("Serving on many machines", "ray") from error
    from varedit.serving.cluster import ClusterSettings

    replicas = options["replicas"] or 1
    cluster = ClusterSettings(
        server=settings,
        model=options["model"] and _absolute(options["model"]),
        device=options["device"],
        precision=options["precision"],
        min_replicas=replicas,
        max_replicas=options["max_replicas"] or replicas,
        max_queue=options["max_queue"],
        adapters=dict(_adapter(text) for text in options["adapter"]),
    )
    return serve_on_ray(cluster, lambda address: terminal.say(_OPEN.format(address)))


def _adapter(text: str) -> tuple[str, str]:
    """Name and folder."""
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise UsageError(f"--adapter {text!r} is not NAME=FOLDER")
    return name, _absolute(folder)


def _absolute(model: str) -> str:
    """A folder as replicas find it, which run elsewhere; other names as they are."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model
