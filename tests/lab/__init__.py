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
"""
