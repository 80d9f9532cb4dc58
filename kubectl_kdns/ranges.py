"""Ranges of addresses that belong to a cluster, as far as its objects let one conclude."""

from __future__ import annotations

from ipaddress import ip_address, ip_network


class Ranges:
    """Networks, given in CIDR form; looking one up costs as much as there are lengths of prefix."""

    def __init__(self, *networks: str) -> None:
        self._networks: set[tuple[int, int, int]] = set()  # (version, prefix length, leading bits)
        self._lengths: set[tuple[int, int]] = set()
        self._around: set[str] = set()
        for network in networks:
            self.add(network)

    def add(self, network: str) -> bool:
        """Whether it was a network, and a new one."""
        try:
            parsed = ip_network(network, strict=False)
        except ValueError:
            return False
        shift = parsed.max_prefixlen - parsed.prefixlen
        key = (parsed.version, parsed.prefixlen, int(parsed.network_address) >> shift)
        if key in self._networks:
            return False
        self._lengths.add((parsed.version, parsed.prefixlen))
        self._networks.add(key)
        return True

    def add_around(self, address: str, ipv4_octets: int) -> bool:
        """The network around an address: so many octets of IPv4, a /64 of IPv6. Whether it is a new one."""
        octets = address.split(".")
        if len(octets) != 4:
            return self.add(f"{address}/64")
        around = ".".join(octets[:ipv4_octets])
        if around in self._around:
            return False
        self._around.add(around)
        return self.add(f"{address}/{8 * ipv4_octets}")

    def outside(self, address: str) -> bool:
        """Whether it is an address, and in none of the networks."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        version, number, bits = parsed.version, int(parsed), parsed.max_prefixlen
        return not any(
            (version, length, number >> (bits - length)) in self._networks
            for of_version, length in self._lengths
            if of_version == version
        )
