"""The network backends alone: what a connection pool asks of them."""

from __future__ import annotations

import socket
import threading

import httpcore
import pytest

from tests.adapters.loopback import LAPTOP, SHOP, LoopbackTailnet
from tsnet.adapters.httpcore import AsyncBackend, SyncBackend, SyncStream, check_fallback
from tsnet.errors import ConfigError, NotOnTailnet
from tsnet.protocols import ByteStream


class Blocking:
    """The blocking twin's `dial` over the loopback tailnet."""

    def __init__(self, tailnet: LoopbackTailnet) -> None:
        self._dialer = tailnet.dialer_of(LAPTOP)

    def dial(self, host: str, port: int, *, timeout: float | None = 30) -> socket.socket:
        return self._dialer.dial_socket(host, port, timeout=timeout)


def test_fallback_is_none_or_host() -> None:
    assert check_fallback("host")
    assert not check_fallback(None)
    with pytest.raises(ConfigError, match="internet"):
        check_fallback("internet")


@pytest.mark.anyio
class TestAsync:
    async def test_reads_writes_and_addresses(self, tailnet: LoopbackTailnet) -> None:
        async with await tailnet.listen(80) as listener:
            stream = await AsyncBackend(tailnet).connect_tcp("shop", 80)
            async with await listener.accept() as server:
                await stream.write(b"")
                await stream.write(b"ping")
                assert await server.receive() == b"ping"
                await server.send(b"pong")
                assert await stream.read(100) == b"pong"
                assert stream.get_extra_info("server_addr") == (SHOP, 80)
                assert stream.get_extra_info("client_addr")[0] == LAPTOP
                assert stream.get_extra_info("ssl_object") is None
                assert stream.get_extra_info("what else") is None
            assert await stream.read(100) == b""
            await stream.aclose()

    async def test_an_idle_connection_tells_that_it_was_closed(self, tailnet: LoopbackTailnet) -> None:
        async with await tailnet.listen(80) as listener:
            stream = await AsyncBackend(tailnet).connect_tcp("shop", 80)
            server = await listener.accept()
            assert not stream.get_extra_info("is_readable")
            await server.aclose()
            assert stream.get_extra_info("is_readable")
            await stream.aclose()

    async def test_timeouts_and_resets_are_httpcores(self, tailnet: LoopbackTailnet) -> None:
        async with await tailnet.listen(80) as listener:
            stream = await AsyncBackend(tailnet).connect_tcp("shop", 80)
            server: ByteStream = await listener.accept()
            with pytest.raises(httpcore.ReadTimeout):
                await stream.read(100, timeout=0.01)
            server.abort()
            with pytest.raises(httpcore.ReadError):
                await stream.read(100, timeout=10)
            await stream.aclose()

    async def test_outside_names_and_refusals(self, tailnet: LoopbackTailnet) -> None:
        backend = AsyncBackend(tailnet)
        with pytest.raises(NotOnTailnet):
            await backend.connect_tcp("example.com", 80)
        with pytest.raises(httpcore.ConnectError) as failure:
            await backend.connect_tcp("shop", 81)
        assert isinstance(failure.value.__cause__, ConnectionRefusedError)
        with pytest.raises(httpcore.UnsupportedProtocol):
            await backend.connect_unix_socket("/tmp/x")
        await backend.sleep(0)

    async def test_fallback_dials_over_the_host(self, tailnet: LoopbackTailnet) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            stream = await AsyncBackend(tailnet, fallback="host").connect_tcp("127.0.0.1", server.getsockname()[1])
            connection, _ = server.accept()
            with connection:
                assert not stream.get_extra_info("is_readable")
                connection.sendall(b"host")
                assert await stream.read(100) == b"host"
                await stream.aclose()

    async def test_tls_with_somebody_who_speaks_none(self, tailnet: LoopbackTailnet) -> None:
        async with await tailnet.listen(80) as listener:
            stream = await AsyncBackend(tailnet).connect_tcp("shop", 80)
            async with await listener.accept() as server:
                await server.send(b"SSH-2.0-OpenSSH\r\n")
                with pytest.raises(httpcore.ConnectError):
                    await stream.start_tls(httpcore.default_ssl_context(), "shop", timeout=10)


class TestSync:
    def test_reads_writes_and_addresses(self, tailnet: LoopbackTailnet) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            tailnet.claim(80, listener.getsockname()[1])
            stream = SyncBackend(Blocking(tailnet)).connect_tcp("shop", 80)
            server, _ = listener.accept()
            with server:
                stream.write(b"ping")
                assert server.recv(100) == b"ping"
                assert not stream.get_extra_info("is_readable")
                server.sendall(b"pong")
                assert stream.read(100) == b"pong"
                assert stream.get_extra_info("server_addr")[0] == "127.0.0.1"
                assert stream.get_extra_info("client_addr")[0] == "127.0.0.2"
                assert stream.get_extra_info("socket").fileno() > 0
                assert stream.get_extra_info("ssl_object") is None
                assert stream.get_extra_info("what else") is None
                with pytest.raises(httpcore.ReadTimeout):
                    stream.read(100, timeout=0.01)
            assert stream.read(100, timeout=10) == b""
            assert stream.get_extra_info("is_readable")
            stream.close()
            assert stream.get_extra_info("is_readable")

    def test_outside_names_refusals_and_fallback(self, tailnet: LoopbackTailnet) -> None:
        backend = SyncBackend(Blocking(tailnet))
        with pytest.raises(NotOnTailnet):
            backend.connect_tcp("127.0.0.1", 80)
        with pytest.raises(httpcore.ConnectError):
            backend.connect_tcp("shop", 81)
        with pytest.raises(httpcore.UnsupportedProtocol):
            backend.connect_unix_socket("/tmp/x")
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            SyncBackend(Blocking(tailnet), fallback="host").connect_tcp("127.0.0.1", port).close()

    def test_tls_with_somebody_who_speaks_none(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            threading.Thread(target=theirs.sendall, args=(b"SSH-2.0-OpenSSH\r\n",)).start()
            with pytest.raises(httpcore.ConnectError):
                SyncStream(ours).start_tls(httpcore.default_ssl_context(), "shop", timeout=10)
