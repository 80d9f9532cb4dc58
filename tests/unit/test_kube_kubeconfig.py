"""kubeconfig: what files say, how they merge, and which cluster and user come out with which flags."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_kdns.errors import ConfigError
from kubectl_kdns.kube import client_config, kubeconfig
from kubectl_kdns.kube.client_config import ClientConfig
from kubectl_kdns.kube.flags import ConnectionFlags
from kubectl_kdns.kube.kubeconfig import ClusterEntry, Context, ExecPlugin, Kubeconfig, User

HERE = Path("/home/jane/.kube/config")
NO_POD = Path("/nonexistent")


def parse(text: str, path: Path = HERE) -> Kubeconfig:
    return kubeconfig.parse(text.encode(), path)


FULL = """
apiVersion: v1
kind: Config
current-context: prod
preferences: {}
clusters:
- name: prod
  cluster:
    server: https://prod.example:6443
    certificate-authority: pki/ca.crt
    tls-server-name: api.internal
    proxy-url: socks5://localhost:1080
    extensions:
    - name: client.authentication.k8s.io/exec
      extension: {audience: me}
- name: lab
  cluster: {server: "https://lab.example/k8s/clusters/c-1/", insecure-skip-tls-verify: true}
contexts:
- name: prod
  context: {cluster: prod, user: jane, namespace: shop}
- name: lab
  context: {cluster: lab, user: robot}
users:
- name: jane
  user:
    client-certificate: /abs/jane.crt
    client-key-data: a2V5
    as: admin
    as-groups: [dev, ops]
    as-user-extra: {scopes: [view]}
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: ./bin/login
      args: [--quiet]
      env: [{name: REGION, value: eu}]
      interactiveMode: IfAvailable
      provideClusterInfo: true
      installHint: get it
- name: robot
  user: {tokenFile: tokens/robot}
"""


def test_every_part_of_a_file() -> None:
    config = parse(FULL)
    assert config == Kubeconfig(
        contexts={"prod": Context("prod", "jane", "shop"), "lab": Context("lab", "robot")},
        clusters={
            "prod": ClusterEntry(
                server="https://prod.example:6443",
                certificate_authority="/home/jane/.kube/pki/ca.crt",
                tls_server_name="api.internal",
                proxy_url="socks5://localhost:1080",
                extensions=(kubeconfig.Extension("client.authentication.k8s.io/exec", {"audience": "me"}),),
            ),
            "lab": ClusterEntry(
                server="https://lab.example/k8s/clusters/c-1/", insecure_skip_tls_verify=True
            ),
        },
        users={
            "jane": User(
                client_certificate="/abs/jane.crt",
                client_key_data="a2V5",
                as_="admin",
                as_groups=("dev", "ops"),
                as_user_extra={"scopes": ("view",)},
                exec=ExecPlugin(
                    command="/home/jane/.kube/bin/login",
                    api_version="client.authentication.k8s.io/v1",
                    args=("--quiet",),
                    env=(kubeconfig.EnvVar("REGION", "eu"),),
                    install_hint="get it",
                    provide_cluster_info=True,
                    interactive_mode="IfAvailable",
                ),
            ),
            "robot": User(token_file="/home/jane/.kube/tokens/robot"),
        },
        current_context="prod",
        files=(str(HERE),),
    )


def test_a_command_without_a_slash_is_looked_up_in_path() -> None:
    config = parse("users: [{name: a, user: {exec: {command: aws}}}]")
    plugin = config.users["a"].exec
    assert plugin
    assert plugin.command == "aws"


@pytest.mark.parametrize("text", ["", "---\n", "{}", "clusters: null\nusers:\ncontexts: []\n"])
def test_empty_files_are_valid(text: str) -> None:
    assert parse(text) == Kubeconfig({}, {}, {}, "", (str(HERE),))


def test_the_first_entry_of_a_name_wins() -> None:
    config = parse("contexts: [{name: a, context: {cluster: one}}, {name: a, context: {cluster: two}}]")
    assert config.contexts["a"].cluster == "one"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("clusters: [", "line 2, column 1"),
        ("a: b\n c: d", "line 2, column 3"),
        ("clusters: {}", "Expected `array`, got `object` - at `$.clusters`"),
        ("users: [{name: a, user: {token: 12}}]", "Expected `str`, got `int` - at `$.users[0].user.token`"),
        ("just a text", "got `str`"),
        ("contexts: [{context: {}}]", "missing required field `name`"),
        ("a: !!python/object:os.system {}", "could not determine a constructor"),
        ("a: 2026-99-99", "month must be in 1..12"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text: str, cause: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text)
    assert str(HERE) in error.value.what
    assert cause in error.value.cause
    assert error.value.hint == f"kubectl config view --kubeconfig {HERE}"


def test_no_bytes_raise_anything_else() -> None:
    @given(st.binary() | st.text().map(str.encode) | st.sampled_from(range(len(FULL))).map(_mutated))
    def check(content: bytes) -> None:
        try:
            kubeconfig.parse(content, HERE)
        except ConfigError as error:
            text = str(error)
        else:
            text = ""
        assert "\x1b" not in text

    check()


def _mutated(position: int) -> bytes:
    return (FULL[:position] + "\x1b" + FULL[position + 1 :]).encode()


def test_deep_nesting_is_an_error_too() -> None:
    with pytest.raises(ConfigError):
        parse("[" * 3_000)


def write(path: Path, **config: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(config))
    return path


def cluster(name: str, server: str) -> dict[str, Any]:
    return {"name": name, "cluster": {"server": server}}


def test_files_of_the_variable_are_merged_and_missing_ones_skipped(tmp_path: Path) -> None:
    first = write(tmp_path / "a" / "one", clusters=[cluster("x", "https://first")])
    second = write(
        tmp_path / "b" / "two",
        clusters=[cluster("x", "https://second"), cluster("y", "https://y")],
        users=[{"name": "u", "user": {"client-key": "u.key"}}],
        **{"current-context": "second"},
    )
    missing = tmp_path / "missing"
    names = os.pathsep.join(map(str, (missing, "", first, second, first)))
    config = kubeconfig.read("", {"KUBECONFIG": names}, tmp_path)
    assert {name: entry.server for name, entry in config.clusters.items()} == {
        "x": "https://first",
        "y": "https://y",
    }
    assert config.users["u"].client_key == str(tmp_path / "b" / "u.key")
    assert config.current_context == "second"
    assert config.files == (str(first), str(second))
    assert config.absent == (str(missing),)


def test_the_default_file_and_the_explicit_one(tmp_path: Path) -> None:
    assert kubeconfig.read("", {}, tmp_path).absent == (str(tmp_path / ".kube" / "config"),)
    default = write(tmp_path / ".kube" / "config", clusters=[cluster("d", "https://d")])
    assert kubeconfig.read("", {"KUBECONFIG": ""}, tmp_path).files == (str(default),)
    named = write(tmp_path / "named", clusters=[cluster("n", "https://n")])
    assert kubeconfig.read(str(named), {"KUBECONFIG": str(default)}, tmp_path).files == (str(named),)


def test_an_explicit_file_must_be_readable(tmp_path: Path) -> None:
    for path, cause in ((tmp_path / "missing", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError) as error:
            kubeconfig.read(str(path), {}, tmp_path)
        assert str(path) in error.value.what
        assert cause in error.value.cause


# What is chosen


NO_FLAGS = ConnectionFlags()


def choose(flags: ConnectionFlags = NO_FLAGS, text: str = FULL) -> ClientConfig:
    return client_config.choose(parse(text), flags, {}, NO_POD)


def test_the_current_context() -> None:
    config = choose()
    assert (config.context, config.namespace, config.server, config.user_name) == (
        "prod",
        "shop",
        "https://prod.example:6443",
        "jane",
    )
    assert config.kubectl("get pods") == "kubectl --context prod get pods"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"context": "lab"}, ("lab", "default", "https://lab.example/k8s/clusters/c-1", "robot")),
        ({"cluster": "lab"}, ("prod", "shop", "https://lab.example/k8s/clusters/c-1", "jane")),
        ({"user": "robot"}, ("prod", "shop", "https://prod.example:6443", "robot")),
        ({"server": "https://other:1"}, ("prod", "shop", "https://other:1", "jane")),
        ({"server": "other:1"}, ("prod", "shop", "https://other:1", "jane")),
        (
            {"context": "lab", "server": "[fd00::1]:6443"},
            ("lab", "default", "https://[fd00::1]:6443", "robot"),
        ),
    ],
)
def test_flags_choose(flags: dict[str, str], expected: tuple[str, ...]) -> None:
    config = choose(ConnectionFlags(**flags))
    assert (config.context, config.namespace, config.server, config.user_name) == expected


def test_a_server_alone_is_enough() -> None:
    config = choose(ConnectionFlags(server="localhost:8001"), text="")
    assert config == ClientConfig(
        "",
        "default",
        "http://localhost:8001",
        ClusterEntry(server="localhost:8001"),
        "",
        User(),
        (str(HERE),),
    )
    assert config.kubectl("version") == "kubectl version"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            {"certificate_authority": "my.crt", "context": "lab"},
            {"certificate_authority": "my.crt", "insecure_skip_tls_verify": False},
        ),
        (
            {"insecure_skip_tls_verify": True},
            {"certificate_authority": "", "insecure_skip_tls_verify": True},
        ),
        ({"tls_server_name": "other"}, {"tls_server_name": "other"}),
        ({"server": "https://other"}, {"tls_server_name": ""}),
    ],
)
def test_tls_flags_win(flags: dict[str, Any], expected: dict[str, Any]) -> None:
    chosen = choose(ConnectionFlags(**flags)).cluster
    assert {name: getattr(chosen, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"token": "t", "context": "lab"}, {"token": "t", "token_file": ""}),
        ({"username": "u", "password": "p"}, {"username": "u", "password": "p"}),
        ({"client_certificate": "c", "client_key": "k"}, {"client_certificate": "c", "client_key": "k"}),
        ({"client_key": "k"}, {"client_key": "k", "client_key_data": ""}),
        (
            {"as_": "bob", "as_group": ("g",), "as_uid": "7", "as_user_extra": ("a=1", "a=2", "b=x=y")},
            {
                "as_": "bob",
                "as_groups": ("g",),
                "as_uid": "7",
                "as_user_extra": {"a": ("1", "2"), "b": ("x=y",)},
            },
        ),
        ({"as_": "bob"}, {"as_": "bob", "as_groups": ("dev", "ops")}),
    ],
)
def test_user_flags_win(flags: dict[str, Any], expected: dict[str, Any]) -> None:
    user = choose(ConnectionFlags(**flags)).user
    assert {name: getattr(user, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("flags", "text", "what", "hint"),
    [
        ({"context": "prdo"}, FULL, "there is no context 'prdo'", 'did you mean "prod"?'),
        ({"context": "zzzzz"}, FULL, "there is no context 'zzzzz'", "--context NAME"),
        ({"cluster": "lob"}, FULL, "there is no cluster 'lob'", 'did you mean "lab"?'),
        ({"user": "jan"}, FULL, "there is no user 'jan'", 'did you mean "jane"?'),
        ({}, FULL.replace("current-context: prod", ""), "has no current context", "use-context lab"),
        ({}, "", f"no cluster is configured in {HERE}", "--kubeconfig FILE"),
        ({"server": "ftp://x"}, FULL, "'ftp://x' of cluster 'prod' is not a URL", "https://HOST:6443"),
        ({"server": "https://"}, FULL, "is not a URL", "https://HOST:6443"),
        ({"server": "https://a b"}, FULL, "is not a URL", "https://HOST:6443"),
        ({"server": "https://h:99999"}, FULL, "is not a URL", "https://HOST:6443"),
        ({"server": "https://h/?a=b"}, FULL, "is not a URL", "https://HOST:6443"),
        ({"as_group": ("g",), "user": "robot"}, FULL, "but no user", "--as USER"),
        ({"as_": "a", "as_user_extra": ("x",)}, FULL, "--as-user-extra 'x' is not KEY=VALUE", ""),
        ({"token": "t", "username": "u"}, FULL, "a token and a user name", "take one of the two"),
        (
            {"insecure_skip_tls_verify": True, "certificate_authority": "x"},
            FULL,
            "has a certificate authority and insecure-skip-tls-verify",
            "take one of the two",
        ),
    ],
)
def test_wrong_choices_are_explained(flags: dict[str, Any], text: str, what: str, hint: str) -> None:
    with pytest.raises(ConfigError) as error:
        choose(ConnectionFlags(**flags), text)
    assert what in error.value.what
    assert hint in error.value.hint


def test_nothing_at_all_says_where_it_looked() -> None:
    config = Kubeconfig({}, {}, {}, absent=("/home/jane/.kube/config",))
    with pytest.raises(ConfigError) as error:
        client_config.choose(config, ConnectionFlags(), {}, NO_POD)
    assert str(error.value) == (
        "no kubeconfig was found: there is no /home/jane/.kube/config, and this is not a pod\n"
        "Try: --kubeconfig FILE, or export KUBECONFIG=FILE"
    )


def test_in_a_pod_it_is_the_service_account(tmp_path: Path) -> None:
    env = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    for name, content in (("token", "t"), ("ca.crt", "pem"), ("namespace", "tools\n")):
        (tmp_path / name).write_text(content)
    config = client_config.choose(Kubeconfig({}, {}, {}), ConnectionFlags(as_="bob"), env, tmp_path)
    assert config == ClientConfig(
        "",
        "tools",
        "https://[fd00::1]:443",
        ClusterEntry(server="https://[fd00::1]:443", certificate_authority=str(tmp_path / "ca.crt")),
        "",
        User(token_file=str(tmp_path / "token"), as_="bob"),
    )
    # A kubeconfig goes before it.
    assert client_config.choose(parse(FULL), ConnectionFlags(), env, tmp_path).context == "prod"
