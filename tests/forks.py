"""Kernels that need not import the large libraries again. A server imports them once, and each
kernel is a fork of it with a folder, an environment and streams of its own.

`python forks.py SOCKET serve MODULE ...` is the server: it ends with its stdin.
`python -IS forks.py SOCKET -f FILE` is what Jupyter starts in a kernel's place: it has a
kernel forked, passes signals on, and each of the two ends with the other."""

import json
import os
import signal
import socket
import sys

READ = 1  # selectors.EVENT_READ


def stand_in(address, argv):
    "Ask the server for a kernel with the streams, folder and environment of this process"
    order = json.dumps([argv, os.getcwd(), dict(os.environ)]).encode()
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(address)
        for n in signal.SIGINT, signal.SIGTERM:
            signal.signal(n, lambda n, _: s.send(bytes([n])))
        socket.send_fds(s, [len(order).to_bytes(4, 'big')], [0, 1, 2])
        s.sendall(order)
        return (s.recv(1) or b'\1')[0]


def receive(conn):
    "The order of a stand-in, [argv, folder, environment], and its three streams"
    size, fds, *_ = socket.recv_fds(conn, 4, 3)
    return json.loads(conn.recv(int.from_bytes(size, 'big'), socket.MSG_WAITALL)), fds


class Server:
    "Forks kernels until its stdin ends"

    def __init__(self, address):
        import selectors

        self.events = selectors.DefaultSelector()
        self.kernels = {}  # process id -> connection to the stand-in
        self.ear = socket.socket(socket.AF_UNIX)
        self.ear.bind(address)
        self.ear.listen()
        self.events.register(self.ear, READ, self.fork)
        self.events.register(0, READ)

    def run(self):
        "In a forked kernel: its order. In the server: nothing, at its end"
        while True:
            for key, _ in self.events.select():
                if key.data is None:
                    return [self.kill(pid) for pid in self.kernels] and None
                if order := key.data():
                    return order

    def fork(self):
        "A new kernel for a stand-in; there, the order"
        conn, _ = self.ear.accept()
        order, fds = receive(conn)
        if pid := os.fork():
            for fd in fds:
                os.close(fd)
            self.kernels[pid] = conn
            self.events.register(conn, READ, lambda: self.pass_on(pid))
            end = os.pidfd_open(pid)
            self.events.register(end, READ, lambda: self.ended(pid, end))
            return None
        os.setsid()
        for s in (conn, self.ear, self.events, *self.kernels.values()):
            s.close()
        for i, fd in enumerate(fds):
            os.dup2(fd, i)
            os.close(fd)
        return order

    def kill(self, pid):
        "A kernel and what it started"
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:  # it is not yet the first of its group
            os.kill(pid, signal.SIGKILL)

    def pass_on(self, pid):
        "A signal; or the stand-in has ended"
        if n := self.kernels[pid].recv(1):
            return os.kill(pid, n[0])
        self.events.unregister(self.kernels[pid])
        self.kill(pid)

    def ended(self, pid, end):
        "Tell the stand-in how its kernel ended, as a shell would"
        conn, code = self.kernels.pop(pid), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        try:
            conn.send(bytes([code if code >= 0 else 128 - code]))
            self.events.unregister(conn)
        except (OSError, KeyError):  # the stand-in ended first
            pass
        self.events.unregister(end)
        conn.close()
        os.close(end)


def load(modules):
    "Import each `package` or `package:Name`: some packages import a name when it is asked for"
    import gc
    import importlib
    import threading

    for m in ('ipykernel.kernelapp', 'ipykernel.zmqshell', *modules):
        package, _, name = m.partition(':')
        found = importlib.import_module(package)
        if name:
            getattr(found, name)
    assert threading.active_count() == 1, 'a fork would not have the other threads'
    assert 'matplotlib' not in sys.modules, 'it would not show figures in the notebook'
    gc.collect()
    gc.freeze()


def become_kernel(argv, folder, env):
    from ipykernel.kernelapp import launch_new_instance

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env, JPY_PARENT_PID=str(os.getppid()))
    if 'numpy' in sys.modules:
        sys.modules['numpy'].random.seed()  # Python's own generator does it by itself
    if 'pandas' in sys.modules:  # what it sets where it is imported in Jupyter
        sys.modules['pandas'].options.display.max_columns = 20
    sys.argv[1:] = argv
    launch_new_instance()


def main(address, what, *rest):
    if what != 'serve':
        sys.exit(stand_in(address, [what, *rest]))
    del sys.path[0]  # this file's folder: no kernel has it
    os.environ['JPY_PARENT_PID'] = str(os.getpid())  # ipykernel reads it while it is imported
    load(rest)
    server = Server(address)
    print('ready', flush=True)
    if order := server.run():
        become_kernel(*order)


if __name__ == '__main__':
    main(*sys.argv[1:])
