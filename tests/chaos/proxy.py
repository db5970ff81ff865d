"""The network between one node and the database: a proxy that can be cut, refused and slowed down.

A cut holds whatever is sent until it heals, as a network does that loses packets which are sent again; the
sessions live on at the server meanwhile. All proxies run on one thread, which has the event loop.
"""

import asyncio
import threading
from typing import Callable, Coroutine, Set

CHUNK_BYTES = 65536
# How long the loop's thread may take for an order; it only ever waits for the network.
ORDER_S_MAX = 30


class Network:
    """The thread on which all proxies run."""

    def __init__(self, socket: str) -> None:
        self.socket = socket
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="network", daemon=True)
        self.thread.start()

    def do(self, order: Coroutine) -> None:
        """Has the loop's thread carry out an order and waits for it."""
        asyncio.run_coroutine_threadsafe(order, self.loop).result(ORDER_S_MAX)

    def proxy(self) -> "Proxy":
        made = []

        async def make() -> None:
            proxy = Proxy(self)
            await proxy.listen()
            made.append(proxy)

        self.do(make())
        return made[0]


class Proxy:
    """One node's way to the database."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.port = 0
        self.server = None
        # Set while the way is open.
        self.to_database = asyncio.Event()
        self.to_node = asyncio.Event()
        self.delay = 0.0
        self.writers: Set[asyncio.StreamWriter] = set()
        self.to_database.set()
        self.to_node.set()

    async def listen(self) -> None:
        self.server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    def cut(self, ways: str) -> None:
        """`both`, `out` (what the node sends) or `in` (what it is sent)."""
        async def order() -> None:
            if ways in ("both", "out"):
                self.to_database.clear()
            if ways in ("both", "in"):
                self.to_node.clear()
        self.network.do(order())

    def heal(self, reset: bool) -> None:
        """Goes on where it was, or ends every connection first: what was held is lost then."""
        async def order() -> None:
            if reset:
                self._abort()
            self.to_database.set()
            self.to_node.set()
        self.network.do(order())

    def refuse(self) -> None:
        """Ends every connection and lets nobody in."""
        async def order() -> None:
            if self.server:
                self.server.close()
                self.server = None
            self._abort()
        self.network.do(order())

    def admit(self) -> None:
        async def order() -> None:
            if self.server is None:
                await self.listen()
        self.network.do(order())

    def slow_down(self, delay: float) -> None:
        async def order() -> None:
            self.delay = delay
        self.network.do(order())

    def _abort(self) -> None:
        for writer in list(self.writers):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        database = None
        try:
            await self.to_database.wait()
            from_database, database = await asyncio.open_unix_connection(self.network.socket)
            self.writers.add(database)
            await asyncio.gather(
                self._pass_on(reader, database, lambda: self.to_database),
                self._pass_on(from_database, writer, lambda: self.to_node))
        except (OSError, asyncio.IncompleteReadError):
            pass  # An end that is gone, as it is the proxy's business to see.
        finally:
            for end in (writer, database):
                if end is not None:
                    self.writers.discard(end)
                    end.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
                       gate: Callable[[], asyncio.Event]) -> None:
        while True:
            data = await reader.read(CHUNK_BYTES)
            if self.delay:
                await asyncio.sleep(self.delay)
            # The end of a connection does not come through a cut either.
            await gate().wait()
            if not data:
                # The other way ends with this one: none of the two programs uses half a connection.
                raise ConnectionResetError
            writer.write(data)
            await writer.drain()
