"""A Flask app on the tailnet that knows who calls. No port is open to anybody else."""

import flask
from somewhere import somewhere

import tsnet

app = flask.Flask(__name__)


@app.get("/")
def hello() -> str:
    peer = tsnet.current_peer()
    return f"Hello {peer.user_login}, you are on {peer.name}." if peer else "Hello stranger."


with somewhere() as options, tsnet.Server("flask-app", **options) as node:
    print(f"serving on {node.url}", flush=True)
    if not options:
        node.serve_wsgi(app)  # until Ctrl-C; add allow=["ann@example.com", "tag:ci"] to keep others out
    else:  # on the embedded tailnet nobody else can call, so a second node does
        node.serve_wsgi(app, block=False)
        with tsnet.Server("visitor", **options) as visitor, visitor.httpx_client() as client:
            print(client.get(node.url).text)
