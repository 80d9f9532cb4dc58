"""On which nodes agents can run, in which image, and why not on the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from msgspec import Struct, field

from kdns_ebpf.manifest import Placement
from kdns_ebpf.options import AgentOptions
from kubectl_kdns.errors import BackendError
from kubectl_kdns.filter.selector import parse_selector
from kubectl_kdns.kube.objects import Meta

ARCHITECTURES = ("amd64", "arm64")


class _Image(Struct, rename="camel"):
    names: list[str] | None = None
    size_bytes: int = 0


class _NodeInfo(Struct, rename="camel"):
    architecture: str = ""
    operating_system: str = ""
    kernel_version: str = ""


class _Condition(Struct):
    type: str = ""
    status: str = ""


class _NodeStatus(Struct, rename="camel"):
    node_info: _NodeInfo = field(default_factory=_NodeInfo)
    images: list[_Image] | None = None
    conditions: list[_Condition] | None = None


class Taint(Struct):
    key: str = ""


class _NodeSpec(Struct):
    taints: list[Taint] | None = None


class Node(Struct):
    """A v1 Node, as far as it matters here."""

    metadata: Meta = field(default_factory=Meta)
    spec: _NodeSpec = field(default_factory=_NodeSpec)
    status: _NodeStatus = field(default_factory=_NodeStatus)

    @property
    def ready(self) -> bool:
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions or ())


class Choice(Struct, frozen=True):
    """`skipped` are nodes that were wanted, with the reason."""

    placements: tuple[Placement, ...]
    skipped: Mapping[str, str]


def choose(
    nodes: Iterable[Node],
    options: AgentOptions,
    *,
    only: frozenset[str] | None = None,
    pod_images: Mapping[str, Sequence[str]] | None = None,
) -> Choice:
    """`only` are the nodes where clients run that are wanted, None for all. `pod_images` are, by node, images
    of pods that run there. Raises BackendError when these are more nodes than --max-nodes."""
    selector = parse_selector(options.node_selector)
    wanted = [
        node
        for node in nodes
        if (only is None or node.metadata.name in only)
        and selector.matches(node.metadata.labels or {})
        and (not options.nodes or any(fnmatchcase(node.metadata.name, glob) for glob in options.nodes))
    ]
    placements, skipped = [], {}
    for node in wanted:
        placed = _place(node, options, (pod_images or {}).get(node.metadata.name, ()))
        if isinstance(placed, Placement):
            placements.append(placed)
        else:
            skipped[node.metadata.name] = placed
    if len(placements) > options.max_nodes:
        raise BackendError(
            f"{len(placements)} nodes are wanted, and at most {options.max_nodes} agents are started at once",
            cause="each node gets a pod of ours for as long as this runs",
            hint="--agent-node NAME, a narrower filter (-n, --pod, deploy/x), or "
            f"--max-nodes {len(placements)}",
        )
    return Choice(tuple(placements), skipped)


def _place(node: Node, options: AgentOptions, pod_images: Sequence[str]) -> Placement | str:
    """Where and how, or why not."""
    info = node.status.node_info
    labels = node.metadata.labels or {}
    taints = {taint.key for taint in node.spec.taints or ()}
    system = info.operating_system or labels.get("kubernetes.io/os", "")
    architecture = info.architecture or labels.get("kubernetes.io/arch", "")
    if labels.get("type") == "virtual-kubelet" or "virtual-kubelet.io/provider" in taints:
        return "it is a virtual node: there is no kernel of its own to watch"
    if (
        "eks.amazonaws.com/compute-type" in taints
        or labels.get("eks.amazonaws.com/compute-type") == "fargate"
    ):
        return "it is a Fargate node, which runs no pods on the host's network"
    if system != "linux":
        return f"its system is {system or 'unknown'}, the agent runs on Linux"
    if architecture not in ARCHITECTURES:
        return f"there is no agent for {architecture or 'its unknown architecture'}"
    if not node.ready:
        return "it is not ready"
    name, kernel = node.metadata.name, info.kernel_version
    if options.image:
        return Placement(name, architecture, options.image, pull=True, kernel=kernel)
    image = _image_there(node, pod_images)
    if not image:
        return "it does not say which images it has. Try: --image IMAGE (any; nothing of it is run)"
    return Placement(name, architecture, image, kernel=kernel)


def _image_there(node: Node, pod_images: Sequence[str]) -> str:
    """An image that need not be pulled: pause, which every node has, else the smallest one in use.

    Nothing in the image is run, so any will do. A node tells of 50 images at most, the largest ones first
    (nodeStatusMaxImages), so pause may be missing: then one that a pod there has is certain to be there, and
    the kubelet does not remove it meanwhile, as it may do with one that nobody uses.
    """
    sizes = {name: image.size_bytes for image in node.status.images or () for name in _tags(image)}
    for name in sizes:
        if _is_pause(name):
            return name
    candidates = [*pod_images] or [*sizes]
    unknown = max(sizes.values(), default=0)
    return min(candidates, key=lambda name: (sizes.get(name, unknown), name), default="")


def _tags(image: _Image) -> list[str]:
    """Its names, those with a tag first: a digest of a manifest list may not be known to the runtime."""
    names = [name for name in image.names or () if name and "<none>" not in name]
    return sorted(names, key=lambda name: "@" in name)


def has_pause(node: Node) -> bool:
    """Whether it tells of a pause image."""
    return any(_is_pause(name) for image in node.status.images or () for name in _tags(image))


def _is_pause(name: str) -> bool:
    repository = name.partition("@")[0].rpartition("/")[2]
    return repository.partition(":")[0] in ("pause", "pause-amd64", "pause-arm64", "mirrored-pause")
