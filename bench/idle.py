"""Opens connections and leaves them idle after one small exchange on each.

idle.py PORT plain|tls|ws COUNT...: opens up to each COUNT in turn, prints a line and waits for a line on its input.
At the end prints as JSON how many were lost meanwhile.
"""

import json
import socket
import ssl
import struct
import sys

from common import raise_limits

GET = b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
MESSAGE = b"\x82\xfe\x00\x80" + bytes(4) + bytes(range(128))  # binary, 128 bytes, masked with zeros
LIMIT = 10  # seconds for one exchange


def read_head(stream):
    """Status and what came behind the head, of which the length is told by Content-Length."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += receive(stream)
    head, _, rest = got.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return head[9:12], rest, length


def receive(stream):
    got = stream.recv(65536)
    if not got:
        raise ConnectionError("closed before its answer was whole")
    return got


def open_one(port, kind, context):
    plain = socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
    # At the end all go at once, and none shall leave a port in TIME_WAIT.
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream = context.wrap_socket(plain, server_hostname="localhost") if kind == "tls" else plain
    stream.sendall(UPGRADE if kind == "ws" else GET)
    status, rest, length = read_head(stream)
    if status != (b"101" if kind == "ws" else b"200"):
        raise ConnectionError(f"answered {status.decode()}")
    if kind == "ws":
        stream.sendall(MESSAGE)
        length = len(MESSAGE)
    while len(rest) < length:
        rest += receive(stream)
    return stream


def is_open(stream):
    """Nothing should have come, least of all the end."""
    stream.setblocking(False)
    try:
        socket.socket.recv(stream, 1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def main():
    port, kind, counts = int(sys.argv[1]), sys.argv[2], [int(word) for word in sys.argv[3:]]
    raise_limits()
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    streams = []
    for count in counts:
        while len(streams) < count:
            streams.append(open_one(port, kind, context))
        print(json.dumps({"open": len(streams)}), flush=True)
        if not sys.stdin.readline():
            return
    print(json.dumps({"lost": sum(not is_open(stream) for stream in streams)}), flush=True)


main()
