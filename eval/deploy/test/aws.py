"""AWS's command line, loaded once for all the calls of a test: most of a call's time is that.

    python aws.py serve SOCKET             loads it, and forks a process for each call
    python -I -S aws.py call SOCKET ARG…   a call, in all that is seen as `aws ARG…`
"""

import json
import os
import signal
import socket
import sys

LENGTH_BYTES = 4


def call(path: str, arguments: list[str]) -> int:
    """Has `aws` run with this process's folder, environment and files; its exit status."""
    message = json.dumps([os.getcwd(), dict(os.environ), arguments]).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [len(message).to_bytes(LENGTH_BYTES, "big")], [0, 1, 2])
        server.sendall(message)
        return (server.recv(1) or b"\xff")[0]


def serve(path: str) -> None:
    """Answers calls until it is killed."""
    from awscli.clidriver import create_clidriver

    driver = create_clidriver()
    for service in ("ec2", "sts"):
        driver.session.get_service_model(service)  # kept from here on
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            client, _ = listener.accept()
            if os.fork() == 0:
                answer(client, driver)
            client.close()


def answer(client: socket.socket, driver) -> None:
    """In a process of its own: becomes the caller, runs the command, ends."""
    status = 255
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        head, files, _, _ = socket.recv_fds(client, LENGTH_BYTES, 3)
        with client.makefile("rb") as rest:
            folder, environment, arguments = json.loads(rest.read(int.from_bytes(head, "big")))
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        status = driver.main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        client.sendall(bytes([status & 255]))
        os._exit(status & 255)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", path]:
            serve(path)
        case ["call", path, *arguments]:
            sys.exit(call(path, arguments))
        case _:
            sys.exit(__doc__)
