"""Certificates for the TLS scenarios, made with the openssl program; all for host names under .example."""

import os

from world import run

AUTHORITY = """
[ca]
default_ca = lab
[lab]
database = {folder}/index.txt
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
organizationName = optional
"""
# name -> (common name, alternative names, begin and end of validity or "" for two days from now, key, who signs)
KINDS = {
    "good": ("shop.example", "DNS:shop.example,DNS:*.shop.example", "", "ec", "ca"),
    "rsa": ("shop.example", "DNS:shop.example", "", "rsa", "ca"),
    "expired": ("shop.example", "DNS:shop.example", "20240101000000Z 20240401000000Z", "ec", "ca"),
    "early": ("shop.example", "DNS:shop.example", "20480101000000Z 20490101000000Z", "ec", "ca"),
    "othername": ("other.example", "DNS:other.example", "", "ec", "ca"),
    "other-issuer": ("shop.example", "DNS:shop.example", "", "ec", "other-ca"),
    "self-signed": ("shop.example", "DNS:shop.example", "", "ec", None),
    "client": ("balancer.example", "DNS:balancer.example", "", "ec", "ca"),
    "many-names": ("shop.example", ",".join(f"DNS:shop-{n}.customers.example" for n in range(150)), "", "rsa", "ca"),
}
AUTHORITIES = ("ca", "other-ca")
KEYS = {"ec": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"), "rsa": ("-newkey", "rsa:2048")}


class Certificates:
    """A folder with two authorities and the certificates that have been asked for."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)

    def path(self, name):
        """The file of a certificate (with its key, and its chain), made when it is asked for first."""
        path = f"{self.folder}/{name}.pem"
        if not os.path.exists(path):
            self.authority(name, path) if name in AUTHORITIES else self.make(name, path)
        return path

    def authority(self, name, path):
        """Make an authority."""
        run("openssl", "req", "-x509", *KEYS["ec"], "-nodes", "-days", "2", "-subj", f"/O=Lab/CN=Lab {name}",
            "-addext", "keyUsage=keyCertSign", "-keyout", f"{path}.key", "-out", path)

    def make(self, name, path):
        """Make a certificate."""
        common, names, validity, key, signer = KINDS[name]
        subject = ("-subj", f"/CN={common}", "-addext", f"subjectAltName={names}")
        if signer is None:
            run("openssl", "req", "-x509", *KEYS[key], "-nodes", "-days", "2", *subject, "-keyout", f"{path}.key",
                "-out", f"{path}.crt")
        else:
            self.sign(path, (*KEYS[key], "-nodes", *subject), self.path(signer), validity)
        with open(path, "w", encoding="ascii") as both:
            for part in (f"{path}.key", f"{path}.crt"):
                with open(part, encoding="ascii") as file:
                    both.write(file.read())

    def sign(self, path, request, signer, validity):
        """Let an authority sign; only `openssl ca` can date a certificate back."""
        conf = f"{self.folder}/ca.conf"
        with open(conf, "w", encoding="ascii") as file:
            file.write(AUTHORITY.format(folder=self.folder))
        open(f"{self.folder}/index.txt", "a", encoding="ascii").close()
        if not os.path.exists(f"{self.folder}/serial"):
            with open(f"{self.folder}/serial", "w", encoding="ascii") as file:
                file.write("1000\n")
        run("openssl", "req", "-new", *request, "-keyout", f"{path}.key", "-out", f"{path}.csr")
        begin, end = validity.split() if validity else ("", "")
        dates = ("-startdate", begin, "-enddate", end) if validity else ("-days", "2")
        run("openssl", "ca", "-batch", "-notext", "-config", conf, "-cert", signer, "-keyfile", f"{signer}.key",
            *dates, "-in", f"{path}.csr", "-out", f"{path}.crt")
