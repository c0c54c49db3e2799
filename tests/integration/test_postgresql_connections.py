"""The way of a PostgreSQL store to its server: encryption, certificates, and passwords that change.

The test servers are built without encryption, so a pooler that encrypts stands before them.
"""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from psycopg import connect, sql

from inventory_es import sync
from inventory_es.errors import IncompatibleStoreError, StoreUnavailableError
from tests.servers.pgbouncer import PGBOUNCER, pooler
from tests.servers.postgresql import Server, as_role, give_to_server, server

OPENSSL = shutil.which("openssl")
needs_certificates = pytest.mark.skipif(OPENSSL is None or PGBOUNCER is None, reason="apt-get install openssl pgbouncer")


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with server() as one:
        with connect(one.url, autocommit=True) as connection:
            connection.execute("CREATE ROLE rotated LOGIN SUPERUSER")
        (one.root / "data" / "pg_hba.conf").write_text(
            "host all rotated 127.0.0.1/32 scram-sha-256\nhost all postgres 127.0.0.1/32 trust\n"
        )
        give_to_server(one.root)
        one.restart()
        yield one


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with certificates that sign themselves, and their keys."""
    folder = tmp_path_factory.mktemp("certificates")
    for name, subject, extension in (
        ("server", "/CN=127.0.0.1", "subjectAltName=IP:127.0.0.1"),
        ("other", "/CN=127.0.0.1", "subjectAltName=IP:127.0.0.1"),
        ("client", "/CN=postgres", "basicConstraints=CA:TRUE"),
        ("stranger", "/CN=postgres", "basicConstraints=CA:TRUE"),
    ):
        assert OPENSSL is not None
        made = [OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        files: list[str | Path] = [
            "-subj",
            subject,
            "-addext",
            extension,
            "-keyout",
            folder / f"{name}.key",
            "-out",
            folder / f"{name}.crt",
        ]
        subprocess.run([*made, *files], check=True, capture_output=True)
        (folder / f"{name}.key").chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def encrypting(running: Server, certificates: Path) -> Iterator[str]:
    """The URL of a server that shows a certificate, and takes no connection without encryption."""
    settings = "auth_type = trust\nclient_tls_sslmode = require\nclient_tls_cert_file = server.crt\nclient_tls_key_file = server.key"
    with pooler(running, settings, files={name: certificates / name for name in ("server.crt", "server.key")}) as url:
        yield url


@pytest.fixture(scope="module")
def certifying(running: Server, certificates: Path) -> Iterator[str]:
    """The URL of a server that lets in whoever shows a certificate."""
    settings = "client_tls_sslmode = verify-full\nclient_tls_cert_file = server.crt\nclient_tls_key_file = server.key"
    files = {name: certificates / name for name in ("server.crt", "server.key", "client.crt")}
    with pooler(running, f"auth_type = cert\n{settings}\nclient_tls_ca_file = client.crt", files=files) as url:
        yield url


def verifying(certificates: Path, root: str) -> dict[str, str | Path]:
    return {"pooler": "transaction", "sslmode": "verify-full", "sslrootcert": certificates / f"{root}.crt"}


def with_options(url: str, options: Mapping[str, str | Path]) -> str:
    pairs = "&".join(f"{name}={quote(str(value))}" for name, value in options.items())
    return f"{url}?schema=shop&{pairs}"


def sell(url: str) -> None:
    with sync.open_inventory(url) as inventory:
        before = inventory.stock("tea", "berlin").on_hand
        inventory.add_stock("tea", "berlin", 1)
        assert inventory.stock("tea", "berlin").on_hand == before + 1


@needs_certificates
def test_a_certificate_that_the_url_names_is_verified(encrypting: str, certificates: Path) -> None:
    options = verifying(certificates, "server")
    sell(with_options(encrypting, options))


@needs_certificates
@pytest.mark.parametrize(
    "root,host,told",
    [("other", "127.0.0.1", "the certificate of the server can't be checked"), ("server", "localhost", "the certificate of the server")],
)
def test_another_certificate_or_host_is_refused(encrypting: str, certificates: Path, root: str, host: str, told: str) -> None:
    options = verifying(certificates, root)
    with pytest.raises(IncompatibleStoreError, match=told):
        sell(with_options(encrypting.replace("127.0.0.1", host), options))


@needs_certificates
def test_a_connection_that_is_not_encrypted_is_refused(encrypting: str) -> None:
    with pytest.raises(StoreUnavailableError):
        sell(with_options(encrypting, {"pooler": "transaction", "sslmode": "disable"}))


@needs_certificates
def test_a_client_shows_a_certificate_of_its_own(certifying: str, certificates: Path) -> None:
    options = verifying(certificates, "server")
    sell(with_options(certifying, {**options, "sslcert": certificates / "client.crt", "sslkey": certificates / "client.key"}))
    with pytest.raises((IncompatibleStoreError, StoreUnavailableError)):
        sell(with_options(certifying, {**options, "sslcert": certificates / "stranger.crt", "sslkey": certificates / "stranger.key"}))


def test_a_server_that_does_not_encrypt_is_refused(running: Server) -> None:
    with pytest.raises(IncompatibleStoreError, match="the server does not encrypt"):
        sell(with_options(running.url, {"sslmode": "require"}))


def test_a_password_file_is_read_with_each_connection(running: Server, tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"

    def rotate(password: str) -> None:
        passwords.write_text(f"127.0.0.1:*:*:rotated:{password}\n")
        passwords.chmod(0o600)
        with connect(running.url, autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER ROLE rotated PASSWORD {}").format(password))
            connection.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'rotated'")

    rotate("first")
    url = with_options(as_role(running.url, "rotated"), {"passfile": passwords})
    with sync.open_inventory(url) as inventory:
        inventory.add_stock("tea", "berlin", 1)
        before = inventory.stock("tea", "berlin").on_hand
        rotate("second")
        inventory.add_stock("tea", "berlin", 1)
        assert inventory.stock("tea", "berlin").on_hand == before + 1
    rotate("third")
    passwords.write_text("127.0.0.1:*:*:rotated:second\n")
    with pytest.raises(IncompatibleStoreError, match="the server refused the password") as refused:
        sell(url)
    assert "second" not in str(refused.value)
