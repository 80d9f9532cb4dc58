"""The CoreDNS backend: the log plugin of every CoreDNS and NodeLocal DNSCache pod as one stream."""

from kdns_coredns.backend import BACKEND

__all__ = ["BACKEND"]
