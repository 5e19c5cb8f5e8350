"""The topics of gVisor's packetimpact list, each under its own name: one peer that misbehaves, one stack that must not.

Source: RFC 9293, RFC 5961, RFC 7323, RFC 5482, RFC 1122, RFC 8200 and RFC 4443; the topics' names are the list's.
Elsewhere: what a file of tests for one module says already (`tcp/test_arrive.py`, `test_fragments.py`, `test_udp.py`).
"""
