"""Networks that are bad on purpose, and who is on their other side.

| module         | gives                                                                              |
|----------------|------------------------------------------------------------------------------------|
| shim           | one direction of a bad link, without IO; a stack behind two of them                |
| dumbbell       | real time: ends on descriptors, a shim each way between them                       |
| cases          | transfers as values, the matrix of them, and their processes side by side          |
| against_linux  | one transfer between our stack and Linux over TUN                                  |
| against_gvisor | one transfer between our stack and gVisor over UDP datagrams                       |
| verdict        | what must hold of either                                                           |
| flows          | bulk senders, ours and Linux's, racing for one link                                |
| internet       | two homes and an internet between them, in network namespaces, and their faults    |
| routers        | what the homes' routers do to UDP, and which pairs can be joined without a relay   |
| questions      | the questions of RFC 5780, asked of a router with plain sockets                    |
| punching       | the simplest hole punching between two homes                                       |
| homes          | a tailnet over two homes, a node of Go's or ours in each, and what they make of it |
| middles        | who plays control between them: testcontrol, Headscale, our embedded tailnet       |
| tailnetprogram | our embedded tailnet as a process                                                  |
| slowstun       | a STUN server that is far away                                                     |
| ourpeer        | our node as a process in a namespace, driven as a Go peer is                       |
| grid           | every pair of homes, as a table: `python -m tests.lab.grid`                        |
| scenes         | pairs that are no two homes: one LAN, containers, host firewalls, both IP versions |
| interruptions  | a stream between two homes while something happens to one of them                  |
| lanes          | streams that go on by themselves, and for how long each was silent                 |
| relayfaults    | what happens to a home relay, under two of our nodes and two of Go's               |
| rootless       | all that by somebody who is not root: `python -m tests.lab`                        |
"""
