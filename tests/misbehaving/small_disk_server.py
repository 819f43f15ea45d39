"""The real server on a disk of its own: a tmpfs of SMALL_DISK_KIB KiB at SMALL_DISK_FOLDER that nobody else sees.

Mounted in namespaces of its own, which most Linux machines let everybody make.
"""

import os
import sys

_PROGRAM = 'mount -t tmpfs -o size="$SMALL_DISK_KIB"k tmpfs "$SMALL_DISK_FOLDER" && exec "$@"'

if __name__ == "__main__":
    server = [sys.executable, "-m", "imagegen_server.main", *sys.argv[1:]]
    os.execvp("unshare", ["unshare", "--map-root-user", "--mount", "sh", "-c", _PROGRAM, "sh", *server])  # noqa: S606 - no shell sees a name of others
