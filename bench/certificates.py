"""Certificates for bench/run, made with openssl."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

from common import site


def make_certificate(directory, name="localhost", *more):
    """One PEM file with a self-signed certificate and its key."""
    key, certificate, both = (directory / f"{name}.{end}" for end in ("key", "crt", "pem"))
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90"]
    command += ["-subj", f"/CN={name}", "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in (name, *more))]
    subprocess.run(command + ["-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    both.write_text(certificate.read_text() + key.read_text())
    key.unlink()
    certificate.unlink()
    return both


def make_certificates(directory, count):
    """One for each site; takes about 10 ms each."""
    directory.mkdir()
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(lambda i: make_certificate(directory, site(i)), range(count)):
            pass
    return directory


def keep_certificates(data, certificates, count, authority):
    """Puts them into a data directory as Wharf keeps what it got from `https://<authority>` (src/tls/store.rs)."""
    kept = data / "certificates" / authority
    os.makedirs(kept, mode=0o700)
    for i in range(count):
        chain, mark, key = (certificates / f"{site(i)}.pem").read_text().partition("-----BEGIN PRIVATE KEY-----")
        record = {"version": 1, "host": site(i), "source": f"https://{authority}", "chain": chain, "key": mark + key}
        file = kept / f"{site(i)}.json"
        file.write_text(json.dumps(record))
        file.chmod(0o600)
