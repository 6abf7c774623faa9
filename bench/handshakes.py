"""Opens one TLS 1.3 connection after another, with one small GET each; prints a summary as JSON.

handshakes.py PORT SECONDS full|resumed
"""

import json
import socket
import ssl
import sys
import threading
import time

THREADS = 4
REQUEST = b"GET /small HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def client(port, until, resume, out):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    session = None
    while (started := time.monotonic()) < until:
        try:
            plain = socket.create_connection(("127.0.0.1", port), timeout=5)
            with context.wrap_socket(plain, server_hostname="localhost", session=session) as tls:
                tls.sendall(REQUEST)
                head = tls.recv(65536)
                while tls.recv(65536):
                    pass
                # The server's tickets have come by now. A ticket may be good for one use only.
                reused, session = tls.session_reused, tls.session if resume else None
            if not head.startswith(b"HTTP/1.1 200") or (resume and not reused and out["warm"]):
                out["failed"] += 1
            elif reused == resume:
                out["seconds"].append(time.monotonic() - started)
            out["warm"] = True
        except OSError:
            out["failed"] += 1


def main():
    port, seconds, kind = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    until = time.monotonic() + seconds
    outs = [{"failed": 0, "seconds": [], "warm": False} for _ in range(THREADS)]
    threads = [threading.Thread(target=client, args=(port, until, kind == "resumed", out)) for out in outs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = sorted(second for out in outs for second in out["seconds"])
    p99 = taken[int(len(taken) * 0.99)] if taken else 0
    print(json.dumps({"requests": len(taken), "failed": sum(out["failed"] for out in outs), "p99": p99}))


main()
