"""The certificates and keys of one test cluster, made with openssl."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

_SECONDS = 30.0
_DAYS = "7"


def make_pki(folder: Path, addresses: Sequence[str]) -> None:
    """Write ca.crt, ca.key, api.crt, api.key and sa.key into ``folder``.

    The API server's certificate is for ``addresses`` and the names that pods call it by. Keys are of curve P-256,
    which take no time to make.
    """
    folder.mkdir(mode=0o700)
    _key(folder / "sa.key")
    _key(folder / "ca.key")
    _key(folder / "api.key")
    _openssl(
        folder, "req", "-x509", "-days", _DAYS, "-subj", "/CN=imagegen-test-ca", "-key", "ca.key", "-out", "ca.crt"
    )
    _openssl(folder, "req", "-new", "-subj", "/CN=kube-apiserver", "-key", "api.key", "-out", "api.csr")
    (folder / "names").write_text(f"subjectAltName={_alternative_names(addresses)}\n")
    signer = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", _DAYS)
    _openssl(folder, "x509", "-req", "-in", "api.csr", *signer, "-extfile", "names", "-out", "api.crt")


def _alternative_names(addresses: Sequence[str]) -> str:
    names = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
    return ",".join([*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)])


def _key(path: Path) -> None:
    _openssl(path.parent, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path.name)


def _openssl(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        ["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=_SECONDS
    )
    if done.returncode:
        raise RuntimeError(f"openssl {' '.join(arguments)} failed: {done.stderr}")
