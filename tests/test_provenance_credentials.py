"""Content credentials, signed with certificates that the test makes for itself."""

from __future__ import annotations

import datetime
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from varedit.cli import cli
from varedit.credentials import SigningKey, read_credentials, signed
from varedit.errors import ImageError, MissingExtra, UsageError
from varedit.images import Picture, read_image
from varedit.output import encode_image
from varedit.provenance import EDITED_BY_MODEL, read_provenance

MADE = {"version": "1.2.3", "instruction": "a lot wärmer", "seed": 4}
RGB = np.random.default_rng(3).integers(0, 256, (37, 53, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def key() -> SigningKey:
    """A certificate for signing, vouched for by a root that nobody trusts."""
    pytest.importorskip("c2pa")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    root_key, own_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now = datetime.datetime.now(datetime.UTC)

    def certificate(name: str, public: Any, *, is_root: bool) -> bytes:
        def named(text: str) -> x509.Name:
            return x509.Name(
                [x509.NameAttribute(oid, text) for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)]
            )

        usage = {
            "digital_signature": True, "content_commitment": False, "key_encipherment": False,
            "data_encipherment": False, "key_agreement": False, "key_cert_sign": is_root, "crl_sign": is_root,
            "encipher_only": False, "decipher_only": False,
        }  # fmt: skip
        builder = (
            x509.CertificateBuilder(named("root"), named(name), public, x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(is_root, None), critical=True)
            .add_extension(x509.KeyUsage(**usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        )
        if not is_root:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
            )
        return builder.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    chain = [
        certificate("signer", own_key.public_key(), is_root=False),
        certificate("root", root_key.public_key(), is_root=True),
    ]
    private = own_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return SigningKey(certificates=b"".join(chain), private_key=private)


def source() -> Picture:
    """A photograph that knows where it was taken."""
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 14.0), 27: b"SECRET-GPS"})
    buffer = io.BytesIO()
    Image.fromarray(255 - RGB).save(buffer, "JPEG", exif=exif, comment=b"SECRET-COMMENT")
    assert b"SECRET-GPS" in buffer.getvalue()
    return read_image(buffer.getvalue())


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_a_signed_file_tells_how_it_was_made_and_keeps_pixels_and_provenance(key, tmp_path, image_format):
    data = encode_image(RGB, image_format, provenance=MADE)
    path = tmp_path / "signed"
    path.write_bytes(signed(data, image_format, MADE, key, source=source()))
    assert np.array_equal(read_image(path).rgb, read_image(data).rgb)
    made = read_provenance(path)
    assert made is not None and MADE.items() <= made.items()
    store = read_credentials(path.read_bytes())
    assert store is not None and store["validation_state"] == "Valid"
    manifest = store["manifests"][store["active_manifest"]]
    (parent,) = manifest["ingredients"]
    assert parent["relationship"] == "parentOf" and "thumbnail" not in parent and "thumbnail" not in manifest
    actions = {
        action["action"]: action
        for assertion in manifest["assertions"]
        if assertion["label"].startswith("c2pa.actions")
        for action in assertion["data"]["actions"]
    }
    assert set(actions) == {"c2pa.opened", "c2pa.edited"}
    assert actions["c2pa.edited"]["digitalSourceType"] == EDITED_BY_MODEL
    assert actions["c2pa.edited"]["parameters"]["description"] == "a lot wärmer"
    assert actions["c2pa.edited"]["softwareAgent"] == {"name": "varedit", "version": "1.2.3"}
    assert b"SECRET" not in path.read_bytes()


def test_a_pixel_changed_after_signing_is_found(key):
    data = signed(encode_image(RGB, "TIFF", provenance=MADE), "TIFF", MADE, key, source=source())
    plain = read_credentials(data)
    broken = bytearray(data)
    broken[data.index(b"varedit {")] ^= 32  # within ImageDescription
    store = read_credentials(bytes(broken))
    assert plain is not None and plain["validation_state"] == "Valid"
    assert store is not None and store["validation_state"] == "Invalid"


def test_a_file_without_credentials_has_none(key):
    assert read_credentials(encode_image(RGB, "PNG", provenance=MADE)) is None


@pytest.mark.parametrize("wrong", [{"private_key": b"none"}, {"certificates": b"none"}, {"algorithm": "rot13"}])
def test_a_key_that_is_none_gives_one_sentence(key, wrong):
    data = encode_image(RGB, "PNG", provenance=MADE)
    bad = SigningKey(**{"certificates": key.certificates, "private_key": key.private_key} | wrong)
    with pytest.raises(UsageError, match="cannot be signed with this certificate and key"):
        signed(data, "PNG", MADE, bad, source=source())
    assert "PRIVATE" not in repr(key)


def test_a_format_without_manifests_is_refused():
    with pytest.raises(ImageError, match="not GIF"):
        signed(b"", "GIF", MADE, SigningKey(certificates=b"", private_key=b""), source=source())


def test_without_the_extra_the_sentence_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(MissingExtra, match=r"pip install 'varedit\[c2pa\]'"):
        read_credentials(b"")


def test_the_command_writes_a_signed_file(key, tmp_path: Path):
    (tmp_path / "chain.pem").write_bytes(key.certificates)
    (tmp_path / "key.pem").write_bytes(key.private_key)
    (tmp_path / "result.webp").write_bytes(encode_image(RGB, "WEBP", provenance=MADE))
    Image.fromarray(255 - RGB).save(tmp_path / "photo.png")
    options = {"--source": "photo.png", "--certificate": "chain.pem", "--key": "key.pem", "-o": "signed.webp"}
    arguments = [text for option, name in options.items() for text in (option, str(tmp_path / name))]
    result = CliRunner().invoke(cli, ["sign", str(tmp_path / "result.webp"), *arguments])
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path}/signed.webp\n"), result.stderr
    store = read_credentials((tmp_path / "signed.webp").read_bytes())
    assert store is not None and store["validation_state"] == "Valid"
