"""A CI job: tests that need a private service, run inside a node that is gone afterwards. No root, no daemon.

The command line does the same for any command:  tsnet run -L 8000:staging:80 -- pytest
"""

import os
import subprocess
import sys

from somewhere import somewhere

import tsnet

TEST = "import os, urllib.request as u; assert u.urlopen(os.environ['STAGING_URL']).read() == b'ready'"


def ready(environ, start_response):  # type: ignore[no-untyped-def]
    start_response("200 OK", [])
    return [b"ready"]


def job(options: dict[str, str]) -> int:
    with tsnet.Server("ci-job", **{**options, "ephemeral": True}) as node, node.forward_local("staging", 80) as forward:
        environment = {**os.environ, "STAGING_URL": f"http://{forward.address}/"}
        return subprocess.run([sys.executable, "-c", TEST], env=environment, check=False).returncode


with somewhere() as options:
    if options:  # the service that a real tailnet has already
        with tsnet.Server("staging", **options) as staging:
            staging.serve_wsgi(ready, block=False)
            code = job(options)
    else:
        code = job(options)
print("passed" if code == 0 else "failed")
sys.exit(code)
