"""`varedit sign`: content credentials for a result, signed with the operator's own certificate."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click

from varedit.cli.request import Command
from varedit.cli.terminal import Terminal, talking, write_result


def _pem_option(name: str, words: str) -> Callable[[Command], Command]:
    kind = click.Path(exists=True, dir_okay=False, path_type=Path)
    return click.option(name, type=kind, required=True, metavar="PEM", help=words)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--source", type=click.Path(path_type=Path), required=True, metavar="IMAGE", help="What was edited.")
@_pem_option("--certificate", "Your certificate, and after it those that vouch for it.")
@_pem_option("--key", "The private key of the certificate, PKCS 8.")
@click.option(
    "--algorithm",
    type=click.Choice(["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"]),
    default="es256",
    show_default=True,
    help="What the key is for.",
)
@click.option("--timestamp-url", metavar="URL", help="Ask this time-stamping authority.  [default: none is asked]")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="OUT", help="The signed file.")
@click.option("--force", is_flag=True, help="Overwrite OUT.")
@talking
@click.pass_obj
def sign(
    terminal: Terminal,
    file: Path,
    source: Path,
    certificate: Path,
    key: Path,
    algorithm: str,
    timestamp_url: str | None,
    output: Path,
    force: bool,
) -> None:
    """Put C2PA content credentials into the result FILE.

    They say that a model edited it, how, and from which picture. Needs the extra c2pa.

    \b
    varedit sign result.png --source photo.jpg --certificate chain.pem --key key.pem -o signed.png
    """
    from varedit.credentials import SigningKey, signed
    from varedit.images import file_bytes, opened, read_image
    from varedit.output import check_output_path, write_whole
    from varedit.provenance import recorded

    made, data = recorded(file), file_bytes(file)
    check_output_path(output, force=force)
    with opened(data, file.name) as image:
        image_format = str(image.format)
    signing_key = SigningKey(
        certificates=certificate.read_bytes(),
        private_key=key.read_bytes(),
        algorithm=algorithm,
        timestamp_url=timestamp_url,
    )
    write_whole(output, signed(data, image_format, made, signing_key, source=read_image(source)))
    write_result(os.fsencode(output) + b"\n")
    terminal.say(f"signed by the first certificate of {certificate}")
