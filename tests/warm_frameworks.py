"""Framework processes that begin with the framework imported: forks of one that has done no more than that.

Importing TensorFlow takes seconds of CPU, and more than a hundred tests start a check. The fork runs the same
module from its start, with the environment, the folder and the pipes that it would have had as a process of
its own. There is one parent for each module and environment, so that nothing of one test reaches another.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections import OrderedDict
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

MODULES = tuple(
    f"porter.runners.{name}"
    for name in (
        "tensorflow",
        "torch",
        "onnx",
        "match_source",
        "match_target",
        "agreement_source",
        "agreement_port",
        "prediction",
    )
)
_MOST_PARENTS = 5
_ROOT = Path(__file__).parents[1]
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow"}
_LONGEST_REQUEST = 1 << 20
_VOLATILE = ("PYTEST_CURRENT_TEST", "PWD", "OLDPWD", "COLUMNS", "LINES")


class WarmFrameworks:
    """Stands for the module `subprocess` where porter starts its framework processes."""

    def __init__(self):
        self._parents = OrderedDict()

    def patch(self):
        """Return a context in which porter starts its processes here."""
        from porter.core import child_process

        stand_in = SimpleNamespace(
            PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired, Popen=self.popen
        )
        return mock.patch.object(child_process, "subprocess", stand_in)

    def popen(self, command, *, stdin, stdout, stderr, env, text):
        """Start a process as `subprocess.Popen` does."""
        if not _is_warm(command):
            return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, env=env, text=text)
        return _Fork(self._parent(command[-1], env), stderr)

    def run_with_tensorflow(self, program, *arguments, **variables):
        """Run a program that uses TensorFlow or Keras, to its end; it must succeed.

        Args:
            program: A file, or the code itself.
            arguments: Its arguments.
            variables: What its environment has beside that of the tests.

        Returns:
            What it wrote to stdout.
        """
        env = {**os.environ, **_QUIET, **variables}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), env.get("PYTHONPATH")]))
        with tempfile.TemporaryFile() as errors:
            fork = _Fork(self._parent("tensorflow,keras,tf_keras", env), errors, (program, *arguments))
            fork.stdin.close()
            with fork.stdout:
                said = fork.stdout.read()
            code = fork.wait()
            errors.seek(0)
            assert code == 0, errors.read().decode(errors="replace")[-3000:]
        return said

    def close(self):
        """End every parent."""
        while self._parents:
            self._parents.popitem()[1].close()

    def _parent(self, module, env):
        wanted = {name: value for name, value in env.items() if name not in _VOLATILE}
        key = module, tuple(sorted(wanted.items()))
        if key not in self._parents:
            while len(self._parents) >= _MOST_PARENTS:
                self._parents.popitem(last=False)[1].close()
            self._parents[key] = _Parent(module, wanted)
        self._parents.move_to_end(key)
        return self._parents[key]


class _Parent:
    """A process that has imported a module, as seen from the tests."""

    def __init__(self, module, env):
        self._socket, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, module, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()

    def fork(self, descriptors, program):
        """Have the process fork, and return the number of the new one.

        Args:
            descriptors: Its stdin, stdout and stderr, and where its exit code is written.
            program: What it runs in place of the parent's module: a file or the code itself, and arguments.
        """
        request = {"folder": str(Path.cwd()), "program": list(map(str, program))}
        socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors)
        answer = self._socket.recv(64)
        if not answer:
            raise RuntimeError(f"the process that forks has ended: {self._process.wait()}")
        return int(answer)

    def close(self):
        self._socket.close()
        self._process.kill()
        self._process.wait()


class _Fork:
    """What `subprocess.Popen` returns, as far as porter uses it."""

    def __init__(self, parent, stderr, program=()):
        read_in, write_in = os.pipe()
        read_out, write_out = os.pipe()
        self._code, code = os.pipe()
        self.pid = parent.fork([read_in, write_out, stderr.fileno(), code], program)
        for given in (read_in, write_out, code):
            os.close(given)
        self.stdin, self.stdout = os.fdopen(write_in, "w"), os.fdopen(read_out)
        self.returncode = None

    def poll(self):
        with selectors.DefaultSelector() as selector:
            if self.returncode is None:
                selector.register(self._code, selectors.EVENT_READ)
                if selector.select(0):
                    self.wait()
        return self.returncode

    def wait(self):
        if self.returncode is None:
            told = os.read(self._code, 64)
            self.returncode = int(told) if told else -signal.SIGKILL
            os.close(self._code)
        return self.returncode

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def communicate(self, text, timeout):
        """Say the last that the process is told, and return everything that it writes to stdout."""
        self.stdin.write(text)
        self.stdin.close()
        with self.stdout, selectors.DefaultSelector() as selector:
            selector.register(self._code, selectors.EVENT_READ)
            selector.register(self.stdout, selectors.EVENT_READ)
            if not selector.select(timeout):
                raise subprocess.TimeoutExpired("the process", timeout)
            answer = self.stdout.read()
        self.wait()
        return answer, None


def _is_warm(command):
    return list(command[:3]) == [sys.executable, "-P", "-m"] and command[-1] in MODULES


def _serve(module, requests):
    """Be the process that forks: import the module's own imports, then one fork for every request."""
    for name in module.split(","):
        import_module(name)
    sys.modules.pop(module, None)  # the fork runs it from its start
    codes = {}
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes)
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj == woken:
                    os.read(woken, 64)
                    _reap(codes)
                elif not _fork(module, requests, codes):
                    return


def _fork(module, requests, codes):
    request, descriptors, *_ = socket.recv_fds(requests, _LONGEST_REQUEST, 4)
    if not request:
        return False
    *streams, code = descriptors
    pid = os.fork()
    if pid == 0:
        _become(module, **json.loads(request), streams=streams)
    codes[pid] = code
    for stream in streams:
        os.close(stream)
    requests.send(str(pid).encode())
    return True


def _become(module, folder, program, streams):
    """Be the process that was asked for; never returns."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(folder)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, 256)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    code = 0
    try:
        _run(module, program)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001  (as the interpreter ends)
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(module, program):
    import runpy

    if not program:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    sys.argv = program if program[0].endswith(".py") else ["-c", *program[1:]]
    if sys.argv is program:
        sys.path.insert(0, str(Path(program[0]).parent))
        runpy.run_path(program[0], run_name="__main__")
    else:
        exec(compile(program[0], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102  (a test's own)


def _reap(codes):
    while codes:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        code = codes.pop(pid)
        os.write(code, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(code)


WARM = WarmFrameworks()
run_with_tensorflow = WARM.run_with_tensorflow


if __name__ == "__main__":
    _serve(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
