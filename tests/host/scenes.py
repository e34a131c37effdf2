"""Makes a state of a host real, in a network namespace of its own, and runs a command while it holds.

scenes.py SCENE COMMAND...   prints what the command prints; facts about the scene go to standard error as JSON.
"""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time

PORT = 8080


def sysctl(name, value):
    with open("/proc/sys/net/ipv4/" + name, "w") as file:
        file.write(value)


def listen(backlog, address="127.0.0.1", family=socket.AF_INET, only=None):
    server = socket.socket(family)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if only is not None:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    server.bind((address, PORT))
    server.listen(backlog)
    return server


def client():
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex(("127.0.0.1", PORT))
    return one


def run(command):
    sys.stdout.flush()
    return subprocess.run(command, check=True)


def tell(**facts):
    print(json.dumps(facts), file=sys.stderr, flush=True)


def idle(command):
    server = listen(50)
    tell(pid=os.getpid())
    run(command)
    server.close()


def overflow(command):
    """A program that does not accept, and clients that go on trying: SYNs are sent again every second or so."""
    server = listen(1)
    clients = [client() for _ in range(8)]
    time.sleep(0.2)
    tell(pid=os.getpid(), clients=len(clients))
    run(command)
    server.close()


def beside(command):
    """The same, and another program beside it that keeps up."""
    other = socket.create_server(("127.0.0.1", PORT + 1), backlog=50)
    overflow(command)
    other.close()


def exhausted(command):
    """Every port of a small range is used towards one place; the next connection fails."""
    sysctl("ip_local_port_range", "40000 40009")
    server = listen(50)
    clients = []
    failed = None
    for _ in range(11):
        one = socket.socket()
        try:
            one.connect(("127.0.0.1", PORT))
        except OSError as error:
            failed = errno.errorcode[error.errno]
            break
        clients.append(one)
    tell(connected=len(clients), failed=failed)
    run(command)
    server.close()


def time_wait(command):
    """Connections that this side closes first stay in TIME_WAIT and keep their ports."""
    sysctl("ip_local_port_range", "40000 40009")
    sysctl("tcp_tw_reuse", "0")
    server = listen(50)
    failed = None
    for _ in range(11):
        one = socket.socket()
        try:
            one.connect(("127.0.0.1", PORT))
        except OSError as error:
            failed = errno.errorcode[error.errno]
            break
        accepted, _ = server.accept()
        one.close()
        accepted.recv(1)
        accepted.close()
    tell(failed=failed)
    run(command)
    server.close()


def only_v6(command):
    server = listen(50, "::", socket.AF_INET6, 1)
    run(command)
    server.close()


def dual(command):
    server = listen(50, "::", socket.AF_INET6, 0)
    one = client()
    time.sleep(0.1)
    run(command)
    one.close()
    server.close()


def nothing(command):
    run(command)


def stopped(command):
    """The program is stopped, as by a debugger: the kernel still accepts for it."""
    child = os.fork()
    if child == 0:
        server = listen(50)
        time.sleep(60)
        os._exit(server.fileno())
    time.sleep(0.3)
    os.kill(child, signal.SIGSTOP)
    time.sleep(0.1)
    try:
        tell(pid=child)
        run(command)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def serve(backlog=50):
    """A process that listens, in a child; tells when it does."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ready)
        server = listen(backlog)
        os.write(told, b"x")
        time.sleep(60)
        os._exit(server.fileno())
    os.close(told)
    os.read(ready, 1)
    os.close(ready)
    return child


def end(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def restart(command):
    """What listens is killed, nothing listens for a while, then another process does."""
    first = serve()
    watch = subprocess.Popen(command)
    time.sleep(2.5)
    end(first)
    time.sleep(2.5)
    second = serve()
    tell(first=first, second=second)
    watch.wait()
    end(second)


def refused(command):
    """As restart, and a client that asks while nothing listens."""
    first = serve()
    watch = subprocess.Popen(command)
    time.sleep(2.5)
    end(first)
    time.sleep(2)
    one = socket.socket()
    failed = errno.errorcode[one.connect_ex(("127.0.0.1", PORT))]
    tell(first=first, failed=failed)
    watch.wait()


def bursts(command):
    """A queue that becomes full and overflows while the host is watched."""
    server = listen(1)
    watch = subprocess.Popen(command)
    time.sleep(2.5)
    clients = [client() for _ in range(8)]
    tell(clients=len(clients))
    watch.wait()
    server.close()


def files(command):
    """The program has as many files open as it may."""
    import resource
    server = listen(50)
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        kept = []
        try:
            while True:
                kept.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            time.sleep(60)
        os._exit(0)
    time.sleep(0.3)
    try:
        run(command)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        server.close()


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2:])
