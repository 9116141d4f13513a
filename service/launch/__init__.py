"""How the service runs: a parent that loads everything once, and workers that are forked from it.

service: what the parent does; supervisor: workers, started, replaced and ended; worker: what one does;
listening: the socket that they share.
"""
