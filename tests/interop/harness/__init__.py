"""What starts, drives and stops the parties that nobody here wrote.

| module        | gives                                                                     |
|---------------|---------------------------------------------------------------------------|
| requirements  | what a scene needs of the machine: a skip with its reason, or a failure   |
| scene         | a network namespace with only `lo` up, a folder, the processes in it      |
| process       | one program: its log, its readiness, its end                              |
| lines         | a program that answers JSON lines                                         |
| certificates  | a private CA                                                              |
| headscale     | Headscale and its command line                                            |
| testcontrol   | Tailscale's own control server for tests, and `derper`                    |
| gopeer        | a Go tsnet node                                                           |
| gvisor        | gVisor's TCP/IP alone, each packet a UDP datagram                         |
| streams       | what either can do with TCP                                               |
| caddy         | the Caddy web server with the Tailscale plugin: an older tsnet            |
| wireguard     | wireguard-go behind a TUN device, with Linux's TCP                        |
| ours          | our own node among them, and small services on it                         |
| oracle        | Tailscale's own packages, asked for their opinion                         |

Everything is a context manager; leaving it ends what it started.
"""
