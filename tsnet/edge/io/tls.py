"""TLS without a socket: ciphertext in and plaintext out, and the other way round.

    receive(ciphertext) -> plaintext       take() -> ciphertext that must go out
    send(plaintext)                        end(): close_notify

OpenSSL works on memory, and the channel on the socket. So one `recv` or one `send` moves many records, and a link may
begin TLS behind a proxy's answer, or after its first byte has been looked at.
Our own contexts offer no ALPN: every protocol here upgrades from HTTP/1.1.

`connect` picks the context, and the rule by which the certificate is judged (the table of `certificates`). The roots
are the user's `ssl_context`, or the system's, where OpenSSL honours SSL_CERT_FILE and SSL_CERT_DIR. A refusal names who
has issued the certificate, or what else of it tells why (`refusals`).

Not here: sockets (`channel`). This module imports `ssl`, and is itself imported by the first link that needs it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import ssl
import time
from collections.abc import Callable

from tsnet.base.links import Tls
from tsnet.edge.io.certificates import (
    PIN_PREFIX,
    CertificateRefused,
    check_name,
    check_pin,
    presented_chain,
    reason_of,
    server_key_of,
    without_meta,
)
from tsnet.edge.io.refusals import complete

READ_SIZE = 16_384
"""The largest plaintext of a record. OpenSSL returns no more at once."""

MAX_READS = 256
"""Records that one `receive` opens: 4 MiB of full ones, and of tiny ones what takes half a millisecond."""

Check = Callable[[ssl.SSLObject], None]


class TlsFailed(Exception):
    """The session is over. str() is the reason for `Closed`: "tls: …" or "certificate: …"."""


class TlsSession:
    """One end of one TLS connection. After TlsFailed only `take` may be called: it may hold an alert to send."""

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_name: str | None = None,
        check: Check | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._wall = wall
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        if context.check_hostname and not server_side and not server_name:  # wrap_bio would leave the check out
            raise TlsFailed("tls: no name to check the certificate by")
        try:
            self._object = context.wrap_bio(self._incoming, self._outgoing, server_side, server_name or None)
        except (ValueError, TypeError) as error:  # a name that cannot be sent or checked
            raise TlsFailed(f"tls: {error}") from None
        self._check = check
        self.is_up: bool = False
        self.has_ended: bool = False
        """The other end has sent close_notify."""
        self.has_more: bool = False
        """Whether records are left over that came with the last ciphertext."""
        if not server_side:
            self._handshake()

    def receive(self, ciphertext: bytes | memoryview) -> bytes:
        """The plaintext of this ciphertext. Raises TlsFailed. None comes out before the certificate has been judged.

        At most MAX_READS records are opened. Call again while `has_more`, then with no ciphertext.
        """
        self._incoming.write(ciphertext)
        if not self.is_up:
            self._handshake()
            if not self.is_up:
                return b""
        chunks = []
        read = self._object.read
        self.has_more = False
        try:
            for _ in range(MAX_READS):
                chunk = read(READ_SIZE)
                if not chunk:
                    self.has_ended = True
                    break
                chunks.append(chunk)
            else:
                self.has_more = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            raise TlsFailed(f"tls: {name_of(error)}") from None
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def send(self, plaintext: bytes) -> None:
        """Seal the plaintext, for `take`. Only when `is_up`. Raises TlsFailed."""
        try:
            self._object.write(plaintext)
        except ssl.SSLError as error:
            raise TlsFailed(f"tls: {name_of(error)}") from None

    @property
    def server_key(self) -> bytes:
        """The key that a certificate of the other end's chain names, for `Opened`. Only when `is_up`.

        It is empty before TLS 1.3: there the chain goes over the wire in the clear, and Go's clients ignore it, too.
        """
        return server_key_of(presented_chain(self._object)) if self._object.version() == "TLSv1.3" else b""

    def take(self) -> bytes:
        return self._outgoing.read() if self._outgoing.pending else b""

    def end(self) -> None:
        """Queue a close_notify. The other end's answer is not waited for."""
        if self.is_up:
            with contextlib.suppress(ssl.SSLError):
                self._object.unwrap()

    def _handshake(self) -> None:
        try:
            self._object.do_handshake()
            if self._object.selected_alpn_protocol() == "h2":
                raise TlsFailed("tls: the ssl_context offers h2, which cannot be upgraded from; offer http/1.1")
            if self._check is not None:
                self._check(self._object)
        except ssl.SSLWantReadError:
            return
        except ssl.SSLCertVerificationError as error:
            raise self._refused(reason_of(error)) from None
        except CertificateRefused as error:
            raise self._refused(str(error)) from None
        except ssl.SSLError as error:
            raise TlsFailed(f"tls: {name_of(error)}") from None
        self.is_up = True

    def _refused(self, verdict: str) -> TlsFailed:
        """Before OpenSSL 3.0 the chain of a failed handshake is not to be had, and the verdict stands alone."""
        return TlsFailed(f"certificate: {complete(verdict, without_meta(presented_chain(self._object)), self._wall())}")


def connect(tls: Tls, roots: ssl.SSLContext | None, wall: Callable[[], float]) -> TlsSession:
    """A client's session under the rules of `tls`. Raises TlsFailed. roots: the user's context, or None."""
    name, cert_name = tls.server_name, tls.cert_name
    if cert_name.startswith(PIN_PREFIX):

        def judge_pin(session: ssl.SSLObject) -> None:
            check_pin(presented_chain(session), cert_name, name, wall())

        return TlsSession(unverified_context(), server_name=name, check=judge_pin, wall=wall)
    if cert_name and cert_name != name:

        def judge_name(session: ssl.SSLObject) -> None:
            check_name(session.getpeercert(binary_form=True) or b"", cert_name)

        return TlsSession(chain_context(roots), server_name=name, check=judge_name, wall=wall)
    if tls.insecure and not cert_name:
        return TlsSession(unverified_context(), server_name=name)
    return TlsSession(roots or system_context(ssl.get_default_verify_paths()), server_name=name, wall=wall)


@functools.lru_cache(maxsize=4)
def system_context(paths: ssl.DefaultVerifyPaths) -> ssl.SSLContext:
    """A context with the system's roots and every check. It is cached by their paths: reading takes 15 ms and more."""
    context = default_context()
    context.hostname_checks_common_name = False
    return context


@functools.lru_cache(maxsize=1)
def unverified_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def chain_context(roots: ssl.SSLContext | None) -> ssl.SSLContext:
    """A context with the roots' authorities that does not check the name.

    A context cannot be copied, and the user's must not change. So its loaded authorities and its verify flags are taken
    over, and its other settings are not. Raises TlsFailed if it does not tell them.
    """
    if roots is None:
        context = default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            authorities = b"".join(roots.get_ca_certs(binary_form=True))
        except NotImplementedError:  # of `truststore`, whose authorities the system keeps to itself
            raise TlsFailed(
                "tls: the ssl_context does not tell its authorities, and this certificate has another name"
            ) from None
        if authorities:
            context.load_verify_locations(cadata=authorities)
        context.verify_flags = roots.verify_flags
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def default_context() -> ssl.SSLContext:
    """Python's default context without VERIFY_X509_STRICT, which Python sets from 3.13 on.

    That strict reading of RFC 5280 refuses private authorities that Go's programs accept. Where the system has no
    roots, as in a small container, those of `certifi` are taken.
    """
    context = ssl.create_default_context()
    if not has_roots(context):
        import certifi

        context.load_verify_locations(certifi.where())
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def has_roots(context: ssl.SSLContext) -> bool:
    """Whether a context with the system's roots has any. Those of a folder are only read when they are needed."""
    if context.cert_store_stats()["x509_ca"]:
        return True
    paths = ssl.get_default_verify_paths()
    folders = os.environ.get(paths.openssl_capath_env, paths.openssl_capath)
    return any(map(_holds_files, folders.split(os.pathsep)))


def _holds_files(folder: str) -> bool:
    """OpenSSL opens files of a folder by their names, so one that may not be listed can hold some all the same."""
    try:
        return bool(os.listdir(folder))
    except PermissionError:
        return True
    except OSError:
        return False


def name_of(error: ssl.SSLError) -> str:
    """OpenSSL's own name of an error, in lower case with spaces: "wrong version number"."""
    return (error.reason or str(error.args[-1])).replace("_", " ").lower()
