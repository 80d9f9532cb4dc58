"""The eBPF backend: DNS packets at the sockets of every node, with the process that sent them."""

from kdns_ebpf.backend import BACKEND

__all__ = ["BACKEND"]
