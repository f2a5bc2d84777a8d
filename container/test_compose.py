"""Compares a compose file with the roles.toml in it.

Prints each service's arguments, one service per line, for the caller to try them.

    test_compose.py COMPOSE.YAML ROLES.TOML   (writes the latter)
"""

import os
import re
import sys
import tomllib

import yaml


def interpolated(text):
    """Replaces ${NAME:?message}, ${NAME:-default} and $$ as Compose does."""

    def value(match):
        if match[0] == "$$":
            return "$"
        name, kind, rest = match[1], match[2], match[3]
        if kind == ":-":
            return os.environ.get(name) or rest
        return os.environ[name]

    return re.sub(r"\$\$|\$\{(\w+)(:[-?])([^}]*)\}", value, text)


def roles_of(roles):
    """The command and the host of each role in a roles.toml."""
    for frontend in roles["frontend"]:
        yield ["frontend"], frontend["address"]
    catalog = roles["catalog"]
    for process in catalog.get("process", []):
        yield ["catalog", "--id", str(process["id"])], process["address"]
    if "address" in catalog:
        yield ["catalog"], catalog["address"]
    for order in roles["order"]:
        yield ["order", "--id", str(order["id"])], order["address"]


def main(compose_file, roles_file):
    with open(compose_file, encoding="utf-8") as file:
        compose = yaml.safe_load(file)
    text = interpolated(compose["configs"]["roles"]["content"])
    with open(roles_file, "w", encoding="utf-8") as file:
        file.write(text)
    roles = tomllib.loads(text)
    services = compose["services"]
    for command, address in roles_of(roles):
        host = address.rsplit(":", 1)[0]
        wanted = command + ["--config", "/roles.toml"]
        assert services[host]["command"] == wanted, f"{host}: {services[host]['command']}"
        assert services[host]["volumes"] == [f"{host}:/data"], host
        assert host in compose["volumes"], host
        print(*command)
    published = roles["frontend"][0]["address"].rsplit(":", 1)[1]
    assert services["frontend"]["ports"] == [f"127.0.0.1:{published}:{published}"]
    database = roles["catalog"].get("database", "")
    hosts = re.findall(r"(?:@|,)(\w+):5432", database)
    assert all(host in services for host in hosts), hosts
    names = re.findall(r"ANY 1 \((.*?)\)", compose["configs"].get("primary", {}).get("content", ""))
    assert not hosts or names == [", ".join(hosts)], (names, hosts)


main(*sys.argv[1:])
